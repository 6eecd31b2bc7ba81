"""The composition root: the only place that knows every layer, and wires them by settings."""

from .client import connect
from .engine import faust_app

__all__ = ["connect", "faust_app"]
