"""Times that start runs: a cron expression in a time zone, checked when it is declared."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ..errors import InvalidConfig
from ..ports.handlers import Schedule

CatchUp: TypeAlias = Literal["all", "last", "skip"]

_FIELDS = (5, 6)
_JITTER_MOST_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule as its user wrote it. Raises `InvalidConfig` for what is none."""

    expression: str
    tz: str
    input: Callable[[datetime], Any]
    jitter_ms: int
    catch_up: CatchUp
    given_name: str | None

    def __post_init__(self) -> None:
        if len(self.expression.split()) not in _FIELDS:
            raise self._wrong(
                "a cron expression has five fields: minute, hour, day of month, month, day of week; or six with seconds"
            )
        try:
            zone = ZoneInfo(self.tz)
        except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise self._wrong(f"there is no time zone {self.tz!r}: give a name as 'Europe/Berlin'") from error
        try:
            next(CronSim(self.expression, datetime.now(UTC).astimezone(zone)))
        except CronSimError as error:
            raise self._wrong(str(error)) from error
        except StopIteration:
            raise self._wrong("this time does not come within 50 years") from None
        if self.catch_up not in get_args(CatchUp):
            raise self._wrong(f"catch_up is one of {', '.join(get_args(CatchUp))}")
        if not 0 <= self.jitter_ms <= _JITTER_MOST_MS:
            raise self._wrong("jitter is 0 to 24 hours")

    @property
    def name(self) -> str:
        return self.given_name or f"{self.expression} {self.tz}"

    def compiled(self) -> Schedule:
        """What the gatherer needs of it."""
        return Schedule(self.expression, self.tz, self.input, self.jitter_ms, self.catch_up)

    def _wrong(self, what: str) -> InvalidConfig:
        return InvalidConfig(f"schedule({self.expression!r}): {what}")
