"""The composition root: the only place that knows every layer, and wires them by settings."""

from .client import connect
from .engine import app_or_exit, faust_app

__all__ = ["app_or_exit", "connect", "faust_app"]
