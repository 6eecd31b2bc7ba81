"""What happened in a simulation, told in the order of its time: who sent what, who died, stood still or took over.

7.315 s  worker-1       calls task2/1
7.402 s  coordinator-2  dies
7.410 s  worker-1       beluga.node-done/0/4: node_succeeded task2/1 by i7
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..adapters.memory.log import MemoryLog
from ..application import codec
from ..application.messages import BegunNotice, ChunkEmitted, Incoming, Progress, Result, Segment, WorkflowRequest
from ..application.topics import Topics
from ..domain.events import LimitDue, OfAttempt, OfExecution, SignalReceived, TimerFired
from ..domain.gathering import EventArrived
from ..domain.ticks import TicksDue
from ..errors import BelugaError
from ..ports.log import Position, Record
from .virtual_time import EPOCH_MS

_LINES_MOST = 300
_LINE_MOST = 200


class _Told(NamedTuple):
    """One line. Without `run` it is of interest to every run."""

    seconds: float
    process: str
    text: str
    run: str = ""


class Story:
    """What the processes of one simulation tell, beside its log."""

    def __init__(self, log: MemoryLog, topics: Topics, queues: Sequence[str], changelog: str) -> None:
        self._log = log
        self._topics = topics
        self._say = _ways_to_say(topics, queues, changelog)
        self._told: list[_Told] = []
        self._authors: dict[Position, str] = {}

    def tell(self, process: str, text: str, run: str = "") -> None:
        """Something that is no record happens now."""
        self._told.append(_Told(asyncio.get_running_loop().time(), process, text, run))

    def wrote(self, process: str, position: Position) -> None:
        """The record there is this process's."""
        self._authors[position] = process

    def author(self, position: Position) -> str:
        """Whose the record there is; empty for none of the processes."""
        return self._authors.get(position, "")

    def text(self, run: str | None = None) -> str:
        """All of it, or what concerns one run: what befell the processes, its records and those of its pages."""
        lines = [told for told in self._told if run is None or told.run in ("", run)]
        lines.extend(self._records(run))
        lines.sort(key=lambda told: told.seconds)  # what is at the same time stays in its order
        shown = [f"{told.seconds:9.3f} s  {told.process:<14} {told.text}"[:_LINE_MOST] for told in lines]
        if len(shown) > _LINES_MOST:
            half = _LINES_MOST // 2
            shown[half:-half] = [f"             … {len(shown) - 2 * half} lines are left out …"]
        return "\n".join(shown)

    def _records(self, run: str | None) -> Iterator[_Told]:
        for topic, say in self._say.items():
            for partition in range(1 if topic == self._topics.control else self._topics.partitions):
                for record in self._log.records(topic, partition, most=1 << 30):
                    said = _said(record, say)
                    if run is None or (record.key or b"").startswith(run.encode()) or run in said:
                        place = f"{topic}/{partition}/{record.offset}"
                        seconds = (record.timestamp_ms - EPOCH_MS) / 1000
                        yield _Told(seconds, self.author(record.position), f"{place}: {said}")


def _said(record: Record, say: Callable[[bytes], str]) -> str:
    if record.value is None:
        return "nothing"
    try:
        return say(record.value)
    except BelugaError as error:
        return f"unreadable: {error}"


def _ways_to_say(topics: Topics, queues: Sequence[str], changelog: str) -> Mapping[str, Callable[[bytes], str]]:
    incoming = (topics.run_requests, topics.run_events, topics.node_done)
    return {
        **dict.fromkeys(incoming, lambda value: _event(codec.incoming.decode(value))),
        **dict.fromkeys(map(topics.node_ready, queues), _work),
        topics.workflow_requests: lambda value: _event(codec.workflow_requests.decode(value)),
        topics.run_results: lambda value: _result(codec.results.decode(value)),
        topics.control: _notice,
        topics.dead_letters: _letter,
        topics.trigger_events: _gathering,
        changelog: _row,
    }


def _letter(value: bytes) -> str:
    return f"a dead letter of {len(value)} bytes"


def _event(event: Incoming | WorkflowRequest) -> str:
    if isinstance(event, Segment):
        return "segment " + ", ".join(_event(outcome) for outcome in event.outcomes)
    if isinstance(event, LimitDue):
        return f"{event.type} of {event.key}"
    said = f"{event.type} of {event.run}"
    if isinstance(event, OfAttempt):
        said += f" {event.node}/{event.attempt}"
    if isinstance(event, OfExecution):
        said += f" by {event.incarnation}"
    if isinstance(event, TimerFired):
        said += f" {event.node}/{event.attempt} due at {(event.due_ms - EPOCH_MS) / 1000:g} s"
    if isinstance(event, SignalReceived):
        said += f" {event.signal}"
    return said


def _gathering(value: bytes) -> str:
    event = codec.gathering_events.decode(value)
    if isinstance(event, EventArrived):
        return f"{event.type} {event.place} for {event.key}, side {event.side}, key {event.of!r}"
    if isinstance(event, TicksDue):
        return f"{event.type} of {event.key}: {[(each - EPOCH_MS) / 1000 for each in event.ticks]}"
    return f"{event.type} of {event.key} at {(event.due_ms - EPOCH_MS) / 1000:g} s"


def _work(value: bytes) -> str:
    work = codec.node_ready.decode(value)
    return f"work {work.node}/{work.attempt} of {work.run}"


def _result(result: Result) -> str:
    match result:
        case ChunkEmitted():
            return f"chunk {result.seq} of {result.node}/{result.attempt} by {result.incarnation}"
        case Progress():
            told = [f"{each.counter} {each.node}/{each.attempt} {each.status}" for each in result.nodes]
            if result.status is not None:
                told.append(f"{result.status.counter} {result.status.status}")
            return f"told of {result.run}: " + ", ".join(told)
        case _:
            return f"refused: {result.code}"


def _notice(value: bytes) -> str:
    notice = codec.control.decode(value)
    if isinstance(notice, BegunNotice):
        return f"begun {notice.attempt} of {notice.run}"
    return f"cancel {notice.generation} of {notice.run} {' '.join(notice.attempts)}"


def _row(value: bytes) -> str:
    if not value.startswith(b'{"v":1,'):
        return value.decode(errors="replace")
    if b'"state":' not in value:
        return "an early signal"
    kept = codec.kept.decode(value)
    nodes = ", ".join(f"{key}/{node.attempt} {node.status}" for key, node in kept.state.nodes.items())
    return f"row: {kept.state.status}; {len(kept.intents)} intents; {nodes}"
