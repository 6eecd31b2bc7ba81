"""Variables that begin like settings and are none: most likely misspelt, and ignored otherwise without a word."""

import logging
import os
from collections.abc import Mapping
from typing import NamedTuple

from ..domain.misspelt import meant
from .settings import Settings

log = logging.getLogger("beluga_stream.settings")

_PREFIX = "BELUGA_"
_SETTINGS = frozenset(f"{_PREFIX}{name.upper()}" for name in Settings.model_fields)

_OTHERS = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        "DEBUG",
        # The demo's graphs.
        "DEMO_INDEX",
        "LLM_API_KEY",
        "LLM_MODEL",
        "LLM_URL",
        # The project's own tests, benchmarks and images.
        "BENCH_BROKER",
        "COMPOSE",
        "COMPOSE_COMMAND",
        "FAILOVER_LEDGER",
        "FORKERS",
        "IMAGE",
        "LIMITS_LEDGER",
        "OBSERVED",
        "PROMETHEUS",
        "REQUIRE_KAFKA",
        "REQUIRE_PROMETHEUS",
        "REQUIRE_REDIS",
        "TEST_BROKER",
        "TEST_LABEL",
        "TEST_SECURITY",
    )
)
"""Known, though no settings."""


class Unknown(NamedTuple):
    """A variable that nobody reads, and the setting whose name is closest, if one is close."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        return self.name if self.meant is None else f"{self.name} (is {self.meant} meant?)"


def unknown(environ: Mapping[str, str] = os.environ) -> list[Unknown]:
    """The variables of the environment that begin with `BELUGA_` and that nobody reads."""
    names = sorted(name for name in environ if name.upper().startswith(_PREFIX))
    return [
        Unknown(name, meant(name.upper(), _SETTINGS, alike=0.8))
        for name in names
        if name.upper() not in _SETTINGS | _OTHERS
    ]


def warn_of_unknown() -> None:
    """One line in the log for each of them."""
    for each in unknown():
        told = f"{each} is no setting, and is ignored: docs/configuration.md lists them all"
        log.warning(told, extra={"action": "settings.unknown", "variable": each.name})
