"""What several events start together, or a clock: triggers that a recording is in the midst of, from the second on.

Do not change them here: their gatherings are in the recordings, under ids made of these names.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pydantic import TypeAdapter

from beluga_stream import Graph
from beluga_stream.ports.handlers import Gathers, Schedule, Side, Trigger
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.virtual_time import EPOCH_MS

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_DAY_MS = 86_400_000
_WAIT_MS = 20_000
USER_TOPICS: Mapping[str, int] = {"left": 1, "right": 1, "many": 1, "edits": 1}
TICK = datetime.fromtimestamp(EPOCH_MS / 1000, UTC).replace(microsecond=0) + timedelta(seconds=20)


async def same(value: Any) -> Any:
    return value


def _graph(name: str) -> Graph[Any, Any]:
    graph = Graph[Any, Any](name)
    graph.set_finish_point(graph.add_node(same, graph.input))
    return graph


GRAPHS = tuple(_graph(name) for name in ("joined", "batched", "edited", "ticked"))


def _side(topic: str) -> Side:
    return Side(topic, _ANY, lambda data: str(data["key"]))


TRIGGERS = (
    Trigger(
        "left+right",
        "gathered",
        "left+right",
        "joined",
        _ANY,
        gathers=Gathers("join", (_side("left"), _side("right")), within_ms=_DAY_MS, lateness_ms=1_000),
    ),
    Trigger(
        "many",
        "gathered",
        "many",
        "batched",
        _ANY,
        gathers=Gathers("batch", (_side("many"),), size=3, wait_ms=_WAIT_MS),
    ),
    Trigger(
        "edits",
        "gathered",
        "edits",
        "edited",
        _ANY,
        gathers=Gathers("burst", (_side("edits"),), quiet_ms=_WAIT_MS, most_ms=_DAY_MS),
    ),
    Trigger(
        "once",
        "schedule",
        "",
        "ticked",
        _ANY,
        schedule=Schedule(f"{TICK:%S %M %H %d %m} *", "UTC", lambda at: at.isoformat()),
    ),
)


def event(topic: str, key: str, number: int) -> Outgoing:
    """An event as a user publishes it."""
    value = orjson.dumps({"key": key, "n": number})
    return Outgoing(topic, key.encode(), value, (("traceparent", _TRACE),), partition=0)


EARLY = (event("left", "both", 1), event("right", "both", 2), event("left", "half", 3), event("left", "unsent", 4),
         event("many", "over", 5))  # fmt: skip
"""What is published at the recording's beginning: a window is complete, and a batch ends by its time."""
LATE = (event("many", "open", 6), event("many", "open", 7), event("edits", "k", 8), event("edits", "k", 9))
"""What is published at its end, and waits then."""
UNSENT = event("right", "unsent", 10)
"""What completes a window whose start the gatherer decides, and does not send."""
AFTER = event("right", "half", 11)
"""What is published after the upgrade."""

RESULTS = {
    "joined": [[1, 2], [3, 11], [4, 10]],
    "batched": [[5], [6, 7]],
    "edited": [[9]],
    "ticked": [TICK.isoformat()],
}


def numbers_of(result: Any) -> Any:
    """The numbers of the events that a run was started by."""
    if isinstance(result, list):
        return [each["n"] for each in result]
    return [result["n"]] if isinstance(result, dict) else result
