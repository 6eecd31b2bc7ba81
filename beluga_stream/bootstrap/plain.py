"""The Faust app that files of a deployment add agents, tables and timers to: `beluga_stream.app`.

Each load of a deployment has an app of its own, for it imports the files anew and Faust refuses a table that is there
already. The engine's load adds to the app that it starts. Any other load, and a child process, wants the graphs only:
what its files add goes to an app that nobody starts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from .garbage import collect_seldom
from .settings import Settings

if TYPE_CHECKING:
    import faust

_given: "Callable[[], faust.App] | None" = None
"""What files add to now; None where no deployment is being loaded, and this is no child process."""


@contextmanager
def files_add_to(app: "faust.App | None") -> "Iterator[None]":
    """While it is open, `beluga_stream.app` is this one; None stands for one that is never started."""
    global _given  # noqa: PLW0603 - files ask for the app by importing it, whatever thread they are imported in
    before = _given
    _given = _made_when_asked() if app is None else lambda: app
    try:
        yield
    finally:
        _given = before


def files_add_to_no_engine() -> None:
    """For the rest of this process's life: a child process imports files whenever a call needs them."""
    global _given  # noqa: PLW0603 - see above
    _given = _made_when_asked()


def app_or_exit() -> "faust.App":
    """What `beluga_stream.app` is here and now: the app that files add to, or else the engine."""
    if _given is not None:
        return _given()
    collect_seldom()
    from .engine import app_or_exit as engine_or_exit  # noqa: PLC0415 - loads everything that a role may need

    return engine_or_exit()


def _made_when_asked() -> "Callable[[], faust.App]":
    """Most deployments add nothing, and Faust takes a while to import."""

    @cache
    def made() -> "faust.App":
        import faust  # noqa: PLC0415 - see above

        settings = Settings.load()
        return faust.App(
            f"{settings.prefix}-app",
            broker="kafka://",
            autodiscover=False,
            datadir=str(settings.data),
            web_enabled=False,
        )

    return made
