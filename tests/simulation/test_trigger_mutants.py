"""The simulations of triggers find the bugs that they are there to find."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pytest

from beluga_stream.application.ingest.gatherer import Gatherer
from beluga_stream.application.ingest.gatherings import Firing, Gatherings
from beluga_stream.application.ingest.horizon import Horizon
from beluga_stream.application.ingest.schedules import Schedules
from beluga_stream.domain import ticks
from beluga_stream.domain.ticks import ScheduleRow, TicksDue
from tests.simulation.test_batches import test_each_event_is_in_one_batch as batches
from tests.simulation.test_joins import test_the_events_of_incomplete_sets_are_dead_letters as joins
from tests.simulation.test_schedules import test_every_minute_is_one_run as schedules

# Their own names would have pytest run them here once more.
batches.__test__ = joins.__test__ = schedules.__test__ = False  # type: ignore[attr-defined]

_WITHIN_SEEDS = 100


def starts_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes it that its predecessor has sent everything."""
    recover = Gatherings.recover

    def recovered(self: Gatherings, committed: int, now_ms: int) -> Iterator[Firing]:
        for _ in recover(self, committed, now_ms):
            pass
        return iter(())

    patch.setattr(Gatherings, "recover", recovered)


def over_by_the_clock_alone(patch: pytest.MonkeyPatch) -> None:
    """A window is over when the clock says so, whatever still lies unread."""

    async def bounds(self: Horizon, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        return {}

    patch.setattr(Horizon, "_bounds", bounds)


def sent_before_the_changelog(patch: pytest.MonkeyPatch) -> None:
    """A start leaves before its row is durable, and the row is never written."""

    async def write(self: Gatherer, owned: Gatherings, now: int) -> None:
        rows = owned.changes(now)
        await owned.table.commit([(key, value) for key, value in rows if "/f/" not in key and "/e/" not in key])

    patch.setattr(Gatherer, "_write", write)


def told_events_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An event that has been told of is new when it comes again."""

    def sent(self: Gatherings, firings: Sequence[Firing], now_ms: int) -> None:
        for firing in firings:
            for event in firing.row.events:
                self._last[f"{firing.gathering}/e/{event}"] = None
            self._last[firing.key] = None

    patch.setattr(Gatherings, "sent", sent)


def events_in_the_wrong_order_of_rows(patch: pytest.MonkeyPatch) -> None:
    """Events are written before their gathering: a cut leaves events that nobody has."""
    changes = Gatherings.changes

    def changed(self: Gatherings, now_ms: int) -> list[tuple[str, bytes | None]]:
        rows = changes(self, now_ms)
        return sorted(rows, key=lambda row: "/e/" not in row[0])

    patch.setattr(Gatherings, "changes", changed)


def ticks_count_twice(patch: pytest.MonkeyPatch) -> None:
    """What is due counts whatever it follows; its time makes another run of it."""

    def tick(row: ScheduleRow | None, event: TicksDue, offset: int) -> ScheduleRow | None:
        real = ticks.tick(row, event, offset)
        if real is None or not real.ticks:
            return real
        return ScheduleRow(
            graph=real.graph,
            trigger=real.trigger,
            until_ms=real.until_ms,
            ticks=tuple(each + offset for each in real.ticks),
            offset=offset,
        )

    patch.setattr("beluga_stream.application.ingest.schedules.tick", tick)


def schedules_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes it that the last times were started."""
    patch.setattr(Schedules, "unconfirmed", lambda *_: iter(()))


def time_told_once(patch: pytest.MonkeyPatch) -> None:
    """That a window is over, or a schedule due, is told once, whatever becomes of it."""
    for module in ("gatherings", "schedules"):
        patch.setattr(f"beluga_stream.application.ingest.{module}.TOLD_AGAIN_MS", 1 << 60)


def offsets_without_a_record_hold_time_up(patch: pytest.MonkeyPatch) -> None:
    """A partition that ends in no record is never read to its end."""

    def passed(self: Gatherer, topic: str, partition: int, offset: int) -> None: ...

    patch.setattr(Gatherer, "passed", passed)


Plant = Callable[[pytest.MonkeyPatch], None]
_PLANTS: Mapping[Plant, Callable[[int], None]] = {
    starts_not_sent_again: joins,
    over_by_the_clock_alone: joins,
    sent_before_the_changelog: joins,
    told_events_are_forgotten: batches,
    events_in_the_wrong_order_of_rows: joins,
    ticks_count_twice: lambda seed: schedules(seed, 0),
    schedules_not_sent_again: lambda seed: schedules(seed, 0),
    time_told_once: joins,
    offsets_without_a_record_hold_time_up: joins,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", _PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(_WITHIN_SEEDS):
        try:
            _PLANTS[plant](seed)
        except (AssertionError, TimeoutError):
            return
    pytest.fail(f"{_WITHIN_SEEDS} seeds did not find that {plant.__doc__}")
