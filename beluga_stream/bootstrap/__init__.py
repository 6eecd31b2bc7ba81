"""The composition root: the only place that knows every layer, and wires them by settings.

Its names load when they are first used: a client has no use for Faust, which takes a second to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import connect as connect
    from .engine import faust_app as faust_app
    from .plain import app_or_exit as app_or_exit

_HOMES = {"app_or_exit": "plain", "connect": "client", "faust_app": "engine"}

__all__ = ["app_or_exit", "connect", "faust_app"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
