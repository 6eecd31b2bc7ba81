"""The engine as a child process: `faust -A beluga_stream worker`, all roles in one, as anybody starts it."""

import re
import sys
from pathlib import Path

from ..adapters.embedded.child import Child
from ..bootstrap.settings import Settings
from ..errors import EngineStopped

_GRACE_SECONDS = 5.0
_NAMED = {"agents", "topics"}
_ERROR = re.compile(r"does not start|^\w*(?:Error|Exception)\b|^[\w.]+(?:Error|Exception): ")


def engine(settings: Settings, output: Path, **more: str) -> Child:
    """The process, not yet started. It gets these settings, and `more` variables, through its environment."""
    environ = {
        "BELUGA_BROKER": settings.broker,
        "BELUGA_PREFIX": settings.prefix,
        # What nobody has named may be missing.
        **{f"BELUGA_{name.upper()}": str(getattr(settings, name)) for name in _NAMED & settings.model_fields_set},
        "BELUGA_BLOBS": settings.blobs,
        "BELUGA_DATA": str(settings.data),
        "BELUGA_SHUTDOWN_GRACE_SECONDS": str(min(settings.shutdown_grace_seconds, _GRACE_SECONDS)),
        "PYTHONUNBUFFERED": "1",
        **more,
    }
    command = [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "--loglevel", "warn"]
    return Child(command, output=output, environ=environ, patience=_GRACE_SECONDS + 10)


def check_running(child: Child) -> None:
    """Raises `EngineStopped` when the process has ended."""
    if child.code is not None:
        lines = [line for line in child.last_words().splitlines() if line.strip()]
        said = [line for line in lines if _ERROR.search(line)][-1:] or lines[-3:] or ["it said nothing"]
        raise EngineStopped(f"the engine's process ended with code {child.code}: {' | '.join(said)}")
