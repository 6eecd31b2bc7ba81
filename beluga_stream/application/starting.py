"""What every start of a run has in common, and what is asked of one that comes from outside."""

import hashlib
import re
from collections.abc import Iterator

import orjson

from ..domain.events import Event, RunRequested, SignalReceived
from ..domain.payload import Json, Payload, seals_of
from ..domain.state import RunState
from ..errors import InvalidInput, NotSerializable
from .partitioner import partition_of

REQUEST_MOST_BYTES = 256 * 1024
"""Values above 64 KiB go through the blob store, so that an honest request stays far below this."""

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def input_digest(value: Json) -> str:
    """A hash of the input, so that a reused idempotency key with another payload is recognised."""
    return hashlib.blake2b(sorted_json(value), digest_size=16).hexdigest()


def sorted_json(value: Json) -> bytes:
    """The same bytes for equal values. Raises `NotSerializable`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise NotSerializable(f"the input cannot become JSON: {error}") from error


def check_request(event: RunRequested, size: int, partition: int, partitions: int) -> None:
    """Raises `InvalidInput` for a start from outside that no answer could reach, or that is too large."""
    if event.parent is not None:
        return
    if not _RUN_ID.fullmatch(event.run):
        raise InvalidInput("a run id must have 1 to 128 letters, digits, - and _, and begin with none of the latter")
    if event.key != event.run:
        raise InvalidInput(f"the start of run {event.run} must have the run's id as its key", run=event.run)
    if size > REQUEST_MOST_BYTES:
        raise InvalidInput(
            f"the start of run {event.run} has {size} bytes, and may have {REQUEST_MOST_BYTES}: "
            f"put values above 64 KiB into the blob store",
            run=event.run,
        )
    if partition_of(event.key.encode(), partitions) != partition:
        raise InvalidInput(
            f"the start of run {event.run} lies in partition {partition}, where nobody looks for it: "
            f"use Kafka's default partitioner (murmur2)",
            run=event.run,
        )


def check_seals(event: Event) -> None:
    """Raises `InvalidInput` when somebody hands in an encrypted value of another run.

    Who cannot read it could otherwise let a graph read it to him.
    """
    match event:
        case RunRequested(parent=None) | SignalReceived(parent=None):
            for owner in (owner for payload in _brought_by(event) for owner in seals_of(payload)):
                if owner != event.run:
                    raise InvalidInput(
                        f"a {event.type} of run {event.run} brings an encrypted value of run {owner}", run=event.run
                    )
        case _:
            return


def _brought_by(event: RunRequested | SignalReceived) -> Iterator[Payload]:
    if isinstance(event, SignalReceived):
        yield event.value
        return
    yield event.input
    if event.fork is not None:
        yield from event.fork.edited.values()
        yield from (taken.output for taken in event.fork.taken.values() if taken.output is not None)


def check_handed(state: RunState, signal: SignalReceived) -> None:
    """Raises `InvalidInput` for a signal that was handed on by somebody who is not the run's parent."""
    by = None if state.parent is None else state.parent.run
    if signal.parent not in (None, by):
        raise InvalidInput(
            f"a signal for run {state.run} was handed on by {signal.parent}, which did not start it", run=state.run
        )


def trace_of(headers: "tuple[tuple[str, bytes], ...]") -> bytes | None:
    """The W3C traceparent among a record's headers, if it is one."""
    found = next((value for name, value in headers if name == "traceparent"), None)
    return found if found is not None and _TRACEPARENT.fullmatch(found) else None
