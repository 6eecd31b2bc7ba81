"""What may be asked of runs from outside, and what is refused because nobody could answer it, or keep it."""

import re
from collections.abc import Iterator, Mapping

from ..domain.definition import EdgeMode, NodeKind
from ..domain.events import (
    CancelRequested,
    Event,
    LimitEvent,
    NodeOverridden,
    Page,
    RetryRequested,
    RunRequested,
    SignalReceived,
    SlotWanted,
)
from ..domain.ids import near_run_id, page_key
from ..domain.payload import Payload, length_of, seals_of
from ..domain.plan import Plan
from ..domain.state import RunState
from ..errors import InvalidInput
from .partitioner import partition_of

REQUEST_MOST_BYTES = 256 * 1024
"""Values above 64 KiB go through the blob store, so that an honest request stays far below this."""

REASON_MOST = 4_096
"""Characters of why a run is cancelled: it is in the run's row, its summary and its last status."""

NAME_MOST = 512
"""Characters of a signal's name, and of the id of a signal or retry: a run remembers hundreds of these ids."""

ASKED = frozenset({RunRequested, SignalReceived, CancelRequested, RetryRequested, NodeOverridden})
"""What others than the engine may ask of a run. Of all else `check_asked` has nothing to say."""

_NUMBER_MOST = 1 << 53
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_LIMIT_ID = re.compile(r"~limit/[0-9a-f]{32}")


def check_request(event: RunRequested, size: int, partition: int, partitions: int) -> None:
    """Raises `InvalidInput` for a start from outside that no answer could reach, or that is too large."""
    if event.page is not None:
        _check_page(event, event.page)
    if event.timeout_ms is not None and not 0 < event.timeout_ms < _NUMBER_MOST:
        raise InvalidInput(
            f"run {event.run} has a timeout_ms of {event.timeout_ms}: give 1 or more, or leave it out", run=event.run
        )
    if event.parent is not None:
        return
    if not _RUN_ID.fullmatch(event.run):
        raise InvalidInput("a run id must have 1 to 128 letters, digits, - and _, and begin with none of the latter")
    if event.key != event.run:
        raise InvalidInput(f"the start of run {event.run} must have the run's id as its key", run=event.run)
    check_size(event, size)
    if partition_of(event.key.encode(), partitions) != partition:
        raise InvalidInput(
            f"the start of run {event.run} lies in partition {partition}, where nobody looks for it: "
            f"use Kafka's default partitioner (murmur2)",
            run=event.run,
        )


def check_size(event: RunRequested, size: int) -> None:
    """Raises `InvalidInput` for a start of so many bytes that the engine would not take it."""
    if size > REQUEST_MOST_BYTES:
        raise InvalidInput(
            f"the start of run {event.run} has {size} bytes, and may have {REQUEST_MOST_BYTES}: "
            f"put values above 64 KiB into the blob store, and less into tags",
            run=event.run,
        )


def check_labels(idempotency_key: object, tags: Mapping[str, str] | None = None) -> None:
    """Raises `InvalidInput` for a key, or a tag, that is no text which can be sent: the engine could not answer it."""
    if idempotency_key == "":
        raise InvalidInput("an idempotency key is empty: all starts without one would be one run; give None, or a key")
    labels: list[tuple[str, object]] = [] if idempotency_key is None else [("an idempotency key", idempotency_key)]
    for name, value in dict(tags or {}).items():
        labels += [("the name of a tag", name), (f"tag {name!r}", value)]
    for what, text in labels:
        if not isinstance(text, str) or not _is_utf8(text):
            raise InvalidInput(f"{what} must be text, and is {text!r}"[:300])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_page(event: RunRequested, page: Page) -> None:
    """Raises `InvalidInput` for a page that its parent did not ask for."""
    parent = event.parent
    is_its = (
        parent is not None
        and event.run.partition("/")[0] == near_run_id(parent.run, parent.node)
        and event.key == parent.key
        and parent.node.partition("#")[0] == page_key(page.node, page.start, page.stop)
        and 0 <= page.start < page.stop
    )
    if not is_its:
        raise InvalidInput(
            f"run {event.run} is started as a page, which only the run of a large map may do: leave `page` out",
            run=event.run,
        )


def check_map(plan: Plan, event: RunRequested) -> None:
    """Raises `InvalidInput` for a page of what is no map in its graph, or of another kind of map."""
    page = event.page
    if page is None:
        return
    declared = plan.nodes.get(page.node)
    is_map = declared is not None and declared.kind is NodeKind.MAP
    if is_map and page.stream is not None:
        is_map = any(edge.mode is EdgeMode.STREAM for edge in plan.incoming[page.node])
    elif is_map:
        is_map = bool(plan.incoming[page.node]) and length_of(event.input) is not None
    if not is_map:
        raise InvalidInput(
            f"run {event.run} is a page of {page.node!r}, which is no map over such a value in graph {event.graph!r}",
            run=event.run,
        )


def check_asked(event: Event, size: int) -> None:
    """Raises `InvalidInput` for what is too long to be kept, brings another run's value, or names what is no run's id.

    A row under such an id would be taken for one of another kind, and end every coordinator that reads it.
    """
    check_id(event.run)
    if not isinstance(event, RunRequested):
        if size > REQUEST_MOST_BYTES:
            raise InvalidInput(
                f"a {event.type} of run {event.run} has {size} bytes, and may have {REQUEST_MOST_BYTES}: "
                f"put values above 64 KiB into the blob store",
                run=event.run,
            )
        check_words(event)
    check_seals(event)


def check_id(run: str) -> None:
    """Raises `InvalidInput` for what can be no run's id."""
    if not run or run.startswith("~"):
        raise InvalidInput(f"{run[:NAME_MOST]!r} is no run's id", run=run[:NAME_MOST])


def check_words(event: Event) -> None:
    """Raises `InvalidInput` for a name, id or reason that is too long, and for what is no run's id."""
    check_id(event.run)
    match event:
        case SignalReceived():
            words = [("name of a signal", event.signal, NAME_MOST), ("id of a signal", event.id, NAME_MOST)]
        case RetryRequested():
            words = [("id of a retry", event.id, NAME_MOST)]
        case CancelRequested():
            words = [("reason of a cancel", event.reason, REASON_MOST)]
        case _:
            return
    for what, word, most in words:
        if len(word) > most:
            raise InvalidInput(f"the {what} has {len(word)} characters, and may have {most}", run=event.run)


def check_limit(event: LimitEvent, size: int) -> None:
    """Raises `InvalidInput` for an event of a limit that no engine writes.

    Its row would not fit, would never be due, or would be taken for one of another kind.
    """
    if not _LIMIT_ID.fullmatch(event.key):
        raise InvalidInput(f"a {event.type} has the key {event.key[:NAME_MOST]!r}, which is no limit's id")
    if size > REQUEST_MOST_BYTES:
        raise InvalidInput(f"a {event.type} has {size} bytes, and may have {REQUEST_MOST_BYTES}")
    if isinstance(event, SlotWanted):
        limit = event.limit
        for number in (limit.at_once, limit.rate, limit.per_ms):
            if number is not None and not 0 < number < _NUMBER_MOST:
                raise InvalidInput(f"the limit {limit.name!r} has a bound of {number}: it must be 1 or more")


def check_seals(event: Event) -> None:
    """Raises `InvalidInput` when somebody hands in an encrypted value of another run.

    Otherwise somebody who has no key could have a graph read it out.
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
