"""Conversations and results in this process: gone when it ends, and of no use to any other."""

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...domain.conversation import MOST_TURNS, Entry, as_vector, check_bounds, check_length, check_name, check_size
from ...errors import InvalidConfig


@dataclass(slots=True)
class _Conversation:
    turns: OrderedDict[str, Entry] = field(default_factory=OrderedDict[str, Entry])
    facts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    marks: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    vectors: OrderedDict[str, "tuple[array[float], bytes]"] = field(
        default_factory=OrderedDict[str, "tuple[array[float], bytes]"]
    )
    places: int = 0


class InProcessStore:
    """The ports `ConversationStore`, `VectorStore` and `ResultStore`, in memory.

    It keeps the last `keep` turns of each conversation, `conversations` of these and `results` results; what was used
    least recently is forgotten first. Searching needs numpy: extra `vectors`. Raises `InvalidConfig` for bounds
    below 1.
    """

    def __init__(
        self,
        *,
        keep: int = MOST_TURNS,
        conversations: int = 10_000,
        results: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_bounds("InProcessStore", keep=keep, conversations=conversations, results=results)
        self._keep, self._most, self._most_results = keep, conversations, results
        self._clock = clock
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()
        self._results: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()  # loops of several threads may share it

    def __repr__(self) -> str:
        return "InProcessStore()"

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        check_name("the turn's id", turn)
        check_size("the turn", value)
        with self._lock:
            kept = self._of(conversation)
            if turn in kept.turns:
                return False
            kept.places += 1
            kept.turns[turn] = Entry(kept.places, turn, value)
            _trim(kept.turns, self._keep)
            return True

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        with self._lock:
            found = [one for one in self._of(conversation).turns.values() if before is None or one.place < before]
        return found if last is None else found[len(found) - min(last, len(found)) :]

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        check_name("the turn's id", turn)
        for name, value in facts.items():
            check_name("a fact's name", name)
            check_size(f"fact {name!r}", value or b"")
        with self._lock:
            kept = self._of(conversation)
            if turn in kept.marks:
                return False
            kept.marks[turn] = None
            _trim(kept.marks, self._keep)
            kept.facts = {
                name: value for name, value in ({**kept.facts, **facts}).items() if value is not None
            }  # at once, for those who read it
            return True

    async def get(self, conversation: str, /) -> Mapping[str, bytes]:
        with self._lock:
            return dict(self._of(conversation).facts)

    async def add(self, conversation: str, turn: str, vector: Sequence[float], value: bytes, /) -> bool:
        check_name("the turn's id", turn)
        check_size("the turn", value)
        given = as_vector(vector)
        with self._lock:
            kept = self._of(conversation)
            check_length(conversation, _size(kept), len(given))
            if turn in kept.vectors:
                return False
            kept.vectors[turn] = (array("d", given), value)
            _trim(kept.vectors, self._keep)
            return True

    async def search(self, conversation: str, vector: Sequence[float], k: int, /) -> Sequence[bytes]:
        given = as_vector(vector)
        with self._lock:
            kept = self._of(conversation)
            check_length(conversation, _size(kept), len(given))
            found = list(kept.vectors.values())
        if not found:
            return []
        numpy = _numpy()
        # As it lies in memory: a million numbers taken out one by one would hold the event loop up.
        matrix, one = (
            numpy.frombuffer(b"".join(known for known, _ in found)).reshape(len(found), -1),
            numpy.array(given),
        )
        lengths = numpy.linalg.norm(matrix, axis=1) * numpy.linalg.norm(one)
        alike = (matrix @ one) / numpy.where(lengths == 0, 1, lengths)
        return [found[int(place)][1] for place in numpy.argsort(-alike, kind="stable")[:k]]

    async def clear(self, conversation: str, /) -> None:
        with self._lock:
            self._conversations.pop(check_name("the conversation", conversation), None)

    async def fetch(self, key: str, /) -> bytes | None:
        with self._lock:
            until, value = self._results.get(key, (0.0, None))
            if value is None or self._clock() >= until:
                self._results.pop(key, None)
                return None
            self._results.move_to_end(key)
            return value

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        check_size("the result", value)
        with self._lock:
            self._results[key] = (self._clock() + seconds, value)
            self._results.move_to_end(key)
            _trim(self._results, self._most_results)

    def _of(self, conversation: str) -> _Conversation:
        kept = self._conversations.setdefault(check_name("the conversation", conversation), _Conversation())
        self._conversations.move_to_end(conversation)
        _trim(self._conversations, self._most)
        return kept


def _size(kept: _Conversation) -> int | None:
    return next((len(known) for known, _ in kept.vectors.values()), None)


def _trim(kept: OrderedDict[str, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def _numpy() -> Any:
    try:
        import numpy  # noqa: PLC0415 - an extra: only who searches needs it
    except ImportError as error:
        raise InvalidConfig("searching by vectors needs numpy: pip install 'beluga-stream[vectors]'") from error
    return numpy
