"""The protocol that every memory has, and what the memories of this package have in common."""

import inspect
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from os import PathLike
from typing import Any, Generic, Protocol, Self, TypeVar, cast, runtime_checkable

import orjson

from ..application.execution.context import context
from ..application.execution.plain_calls import FUNCTIONS
from ..errors import InvalidConfig, InvalidInput, InvalidState
from .history import History, Turn

S = TypeVar("S")
T = TypeVar("T")

DEFAULT_CONVERSATION = "default"
_FORM = 1
"""The version of a turn as it is kept."""


@runtime_checkable
class Memory(Protocol):
    """Something that remembers, such as LangChain's memories and all those of this package.

    Each method may be sync or async; a sync one is called in a thread. Where there are `aload_memory_variables` and
    `asave_context`, as LangChain has them, these are called instead.
    """

    @property
    def memory_variables(self) -> Sequence[str]:
        """The names of what it loads."""
        ...

    def load_memory_variables(self, inputs: dict[str, Any], /) -> Awaitable[Mapping[str, Any]] | Mapping[str, Any]:
        """What is remembered, by those names."""
        ...

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any], /) -> Awaitable[object] | object:
        """Remember one turn."""
        ...

    def clear(self) -> Awaitable[object] | object:
        """Forget everything."""
        ...


@dataclass(frozen=True)
class StoredMemory(Generic[S]):
    """A memory over a store, for any number of conversations: `of` gives that of one.

    `store` is an object, or the class of one that a `@resource` gives: then it works in runs only. `memory_key` is the
    name of what it loads. `input_key` and `output_key` pick the part of a mapping that is saved; without them, what is
    the only value of one, else all of it. Without `of` it is that of `conversation`, and each save is a turn of its
    own; inside a handler, of that node.
    """

    _: KW_ONLY
    store: S | type[S]
    conversation: str = DEFAULT_CONVERSATION
    memory_key: str = "history"
    input_key: str | None = None
    output_key: str | None = None
    turn: str | None = None

    def __post_init__(self) -> None:
        given: object = self.store
        if isinstance(given, str | PathLike):
            raise InvalidConfig(
                f"{type(self).__name__}(store={given!r}) is a path, and no store: give SQLiteStore({str(given)!r}), or "
                f"SQLiteVectors to a VectorMemory"
            )
        for name in ("memory_key", "input_key", "output_key"):
            value = getattr(self, name)
            if value == "" or not isinstance(value, str | None):
                raise InvalidConfig(f"{type(self).__name__}({name}={value!r}): give the name of a key")

    def of(self, conversation: str, *, turn: str | None = None, store: S | None = None) -> Self:
        """The memory of one conversation. What it saves, it saves once under the id of this `turn`."""
        return replace(self, conversation=conversation, turn=turn, store=self.store if store is None else store)

    @property
    def memory_variables(self) -> Sequence[str]:
        """The names of what it loads."""
        return (self.memory_key,)

    @abstractmethod
    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        """What is remembered, typed. Raises `StoreUnavailable`."""

    async def load_memory_variables(self, inputs: Mapping[str, Any], /) -> Mapping[str, Any]:
        """What is remembered, by `memory_variables`: as messages. Raises `StoreUnavailable`."""
        return {self.memory_key: (await self.recall(inputs)).messages}

    @abstractmethod
    async def save_context(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], /) -> None:
        """Remember one turn. Raises `StoreUnavailable`, and `InvalidInput` for one that is too large."""

    @abstractmethod
    async def clear(self) -> None:
        """Forget this conversation."""

    @property
    def opened(self) -> S:
        """The store. Raises `InvalidState` outside a run when a `@resource` gives it."""
        if isinstance(self.store, type):
            raise InvalidState(
                f"the store of this {type(self).__name__} is the @resource of {self.store.__name__}, which is open in "
                f"runs only: give the store itself, as {type(self).__name__}.of(..., store=...)"
            )
        return self.store

    def _turn_id(self) -> str:
        if self.turn is not None:
            return self.turn
        running = context()
        return running.idempotency_key if running.run_id else secrets.token_hex(16)

    def _turn(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Turn:
        return Turn(input=self._input(inputs), output=_picked("output", outputs, self.output_key))

    def _input(self, inputs: Mapping[str, Any]) -> Any:
        return _picked("input", self._own(inputs), self.input_key)

    def _own(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs without what a memory has loaded into them."""
        given = check_mapping("input", inputs)
        return {name: value for name, value in given.items() if name not in self.memory_variables}


def kept(turn: Turn) -> bytes:
    """A turn as stores keep it. Raises `InvalidInput` for what cannot become JSON."""
    try:
        return orjson.dumps({"v": _FORM, "input": turn.input, "output": turn.output})
    except (TypeError, orjson.JSONEncodeError) as error:
        raise InvalidInput(f"a turn cannot become JSON: {error}") from error


def turn_of(value: bytes, number: int = 0) -> Turn:
    """A turn that was kept. Raises `InvalidInput` for one of a later version."""
    data = orjson.loads(value)
    if data.get("v") != _FORM:
        raise InvalidInput(f"a turn of version {data.get('v')!r} was kept, and this engine knows version {_FORM}")
    return Turn(input=data["input"], output=data["output"], number=number)


async def called(function: Callable[..., Awaitable[T] | T], *given: Any) -> T:
    """What a function of the user gives: an async one is awaited, a sync one called in a thread."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004 - its kind is wanted
        return await cast("Callable[..., Awaitable[T]]", function)(*given)
    found: Any = await FUNCTIONS.call(function, *given)
    result: T = await found if inspect.isawaitable(found) else found
    return result


async def loaded(memory: Memory, inputs: dict[str, Any]) -> Mapping[str, Any]:
    """What a memory gives, whoever made it. Raises `InvalidInput` when that is no mapping."""
    found: Any = await called(getattr(memory, "aload_memory_variables", memory.load_memory_variables), inputs)
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{type(memory).__name__}.load_memory_variables gave a {type(found).__name__}: no mapping")
    return cast("Mapping[str, Any]", found)


async def save(memory: Memory, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    """Let a memory remember a turn, whoever made it."""
    await called(getattr(memory, "asave_context", memory.save_context), inputs, outputs)


def check_mapping(what: str, values: object) -> Mapping[str, Any]:
    """The values. Raises `InvalidInput` for what is no mapping."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"the {what} to remember is a {type(values).__name__}: give a mapping, as {{{what!r}: ...}}")
    return cast("Mapping[str, Any]", values)


def _picked(what: str, values: Mapping[str, Any], key: str | None) -> Any:
    check_mapping(what, values)
    if key is None:
        return next(iter(values.values())) if len(values) == 1 else dict(values)
    if key not in values:
        has = ", ".join(map(repr, values)) or "nothing"
        raise InvalidInput(f"{what}_key={key!r}: the {what} to remember has no such key; it has {has}")
    return values[key]
