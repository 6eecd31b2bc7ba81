"""When is everything as before? All that a harm has interrupted goes on."""

from collections.abc import Iterable

from tests.chaos.cluster import Cluster, until
from tests.chaos.ledger import LedgerReader, Line
from tests.chaos.observer import Observer
from tests.chaos.scene import Harmed

_SECONDS = 120.0


async def recovered(harmed: Harmed, cluster: Cluster, ledger: LedgerReader, observer: Observer) -> float:
    """Wait until all goes on, and return how long after the harm that was (seconds).

    Each partition that lost its coordinator tells of its runs again, each execution that lost its worker has
    begun again or is not needed any more, and each process that was the only one of its kind is back. Raises
    `TimeoutError`, and `RuntimeError` when a process ends meanwhile that nobody ended.
    """
    counted_ms = harmed.over_ms or harmed.since_ms

    def resumed_ms(line: Line) -> int | None:
        later = [
            other.at_ms
            for other in ledger.executions[line.run, line.node]
            if other.incarnation != line.incarnation and other.at_ms >= line.at_ms
        ]
        own = [other.at_ms for other in ledger.executions[line.run, line.node] if other.kind == "end"]
        if later or own:
            return min(later + own)
        return counted_ms if _is_over(line, observer) else None

    def times() -> Iterable[int | None]:
        ledger.refresh()
        yield from (observer.told_after(partition, counted_ms) for partition in harmed.partitions)
        yield from (resumed_ms(line) for line in harmed.cut_off)
        yield from (process.ready_ms for process in harmed.awaited)

    def all_go_on() -> bool:
        if cluster.unexpected():
            raise RuntimeError("a process ended by itself while the others recovered")
        return None not in times()

    await until(all_go_on, _SECONDS, f"all goes on after: {harmed.what}")
    latest = max((at for at in times() if at is not None), default=counted_ms)
    return max(latest - counted_ms, 0) / 1000


def _is_over(line: Line, observer: Observer) -> bool:
    """Whether nobody needs the execution any more: its run or its node has ended without it."""
    if line.run in observer.ended_at:
        return True
    return any(line.node in told.accepted for told in observer.told_of(line.run))
