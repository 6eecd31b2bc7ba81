"""A run's journal as DBOS lists it: the entries, each with the mail that was read for it."""

from collections.abc import Iterable, Iterator

import msgspec
from dbos import StepInfo

from ...domain.events import Event
from .records import NEXT, Entry
from .serializer import JsonSerializer

_RECEIVED = "DBOS.recv"


def entries(steps: Iterable[StepInfo], serializer: JsonSerializer) -> Iterator[tuple[Entry, list[Event]]]:
    """In the order in which they happened. Raises `KeyMissing` and `Tampered`."""
    entry: Entry | None = None
    mail: list[Event] = []
    for step in steps:
        kept = serializer.legible(step["output"])
        if kept is None:  # there was no more mail, or the step failed
            continue
        if step["function_name"] == NEXT:
            if entry is not None:
                yield entry, mail
            entry, mail = msgspec.json.decode(kept, type=Entry), []
        elif step["function_name"] == _RECEIVED:
            mail.append(msgspec.json.decode(kept, type=Event))
    if entry is not None:
        yield entry, mail
