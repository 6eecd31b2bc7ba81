"""A child process of a worker: log lines as in the worker, and handlers found by their names."""

from . import deployment
from .logs import configure_logs
from .settings import Settings


def prepare_child(agents: str) -> None:
    """Run first in a child process."""
    configure_logs(Settings.load())
    deployment.prepare_child(agents)
