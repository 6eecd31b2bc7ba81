"""Whose clock counts: the owner's. An event takes place when the owner of its run takes it up.

What its sender's clock said decides nothing: it may be minutes off, and the event may have waited for hours. Timeouts,
pauses and windows are counted from what is stamped here, and by the same clock they end.
"""

from ...domain.events import Event, RetryRequested, RunRequested
from ...domain.frozen import replace
from ..messages import Segment

_OTHERWISE = frozenset({Segment, RunRequested, RetryRequested})
"""Those in which more is stamped than the time."""


def stamped(event: Event | Segment, offset: int, now_ms: int) -> Event | Segment:
    """The event as it is taken up now. `offset` is where it lies in its topic."""
    # Nearly all are outcomes of single nodes: a look at the type costs less than to ask for each of the others.
    if type(event) not in _OTHERWISE:
        return replace(event, at_ms=now_ms)
    match event:
        case Segment():
            return _shifted(event, now_ms)
        case RunRequested(parent=None):
            return replace(event, at_ms=now_ms, offset=offset)
        case RetryRequested(id=""):
            # What names the request must be the same whenever its record is read.
            return replace(event, at_ms=now_ms, id=str(event.at_ms) if event.at_ms else f"@{offset}")
        case _:
            return replace(event, at_ms=now_ms)


def _shifted(segment: Segment, now_ms: int) -> Segment:
    """The last outcome is now, and the others as long before it as they were: that is how long the nodes took."""
    ahead = segment.outcomes[-1].at_ms - now_ms if segment.outcomes else 0
    outcomes = tuple(replace(each, at_ms=min(each.at_ms - ahead, now_ms)) for each in segment.outcomes)
    return replace(segment, at_ms=now_ms, outcomes=outcomes)
