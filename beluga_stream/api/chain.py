"""`chain(a, b, c)`: handlers one after another, each on the output of the one before."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from ..domain.definition import NodeKind
from ..domain.ids import INPUT
from ..errors import InvalidGraph
from .blueprint import Blueprint
from .building import Builder, check_name, check_timeout
from .compile import Compiled, compile_blueprint
from .limit import Limits
from .memory import Memory
from .node import NodeOptions, options_of
from .ref import Origin, Ref
from .remembering import remembered
from .retry import Seconds
from .signature import name_of
from .work import Work

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")


class Chain(Work[I, O], Generic[I, O]):
    """Handlers in sequence. Made by `chain`."""

    def __init__(self, name: str, blueprint: Blueprint) -> None:
        super().__init__(name)
        self._blueprint = blueprint

    def __repr__(self) -> str:
        return f"<Chain {self.name}: {' -> '.join(self._blueprint.steps)}>"

    def _stamp(self) -> object:
        children = [step.work.compile() for step in self._blueprint.steps.values() if step.work is not None]
        return (self._blueprint.version, *map(id, children))

    def _compile(self) -> Compiled:
        return compile_blueprint(self._blueprint, None, None, kind="chain")


@overload
def chain(
    a: Callable[[A], AsyncIterator[B] | Iterator[B]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[B]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, B]: ...
@overload
def chain(
    a: Callable[[A], B],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, B]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], AsyncIterator[C] | Iterator[C]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[C]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, C]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], C],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, C]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], AsyncIterator[D] | Iterator[D]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[D]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, D]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], D],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, D]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], AsyncIterator[E] | Iterator[E]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[E]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, E]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], E],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, E]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], AsyncIterator[F] | Iterator[F]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[F]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], Awaitable[F]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, F]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], F],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, F]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], Awaitable[F] | F],
    f: Callable[[F], AsyncIterator[G] | Iterator[G]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, list[G]]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], Awaitable[F] | F],
    f: Callable[[F], Awaitable[G]],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, G]: ...
@overload
def chain(
    a: Callable[[A], Awaitable[B] | B],
    b: Callable[[B], Awaitable[C] | C],
    c: Callable[[C], Awaitable[D] | D],
    d: Callable[[D], Awaitable[E] | E],
    e: Callable[[E], Awaitable[F] | F],
    f: Callable[[F], G],
    /,
    *,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[A], str] | None = None,
) -> Chain[A, G]: ...
def chain(
    *steps: object,
    name: str | None = None,
    timeout: Seconds = 600,
    limit: Limits = (),
    memory: Memory | None = None,
    conversation: Callable[[Any], str] | None = None,
) -> Chain[Any, Any]:
    """Join one to six handlers: `chain(clean, count)` is a `Chain[str, int]`.

    Types are those of the annotations (none means Any). A step is what `Graph.add_node` takes, with
    one parameter; options come from `@node`; the last may stream. The name is `a-b-c` of the
    steps' unless given; a handler that occurs again gets `_2`. `timeout` bounds a run, in seconds or as a
    timedelta; `limit` says how many go on at a time, or begin in a period: see `Limit`. `memory` is loaded before
    and saved after each run, in the conversation that `conversation` gives for its input (docs/memory.md). Raises
    `InvalidGraph` for no steps, for handlers that cannot be called and for a timeout that is not above 0,
    `InvalidConfig` for what is no memory.
    """
    blueprint = line_of(steps, name, timeout, limit)
    blueprint.memory = remembered(memory, conversation)
    return Chain(blueprint.graph, blueprint)


def line_of(steps: Sequence[object], name: str | None, timeout: Seconds, limit: Limits = ()) -> Blueprint:
    """The blueprint of a chain of these steps. Raises `InvalidGraph` as `chain` does."""
    names = [
        step.name if isinstance(step, Work) else options_of(step).get("name") or name_of(step) or f"step_{i}"
        for i, step in enumerate(steps, 1)
    ]
    called = name or "-".join(names)
    if not steps:
        raise InvalidGraph("a chain needs at least one step")
    check_name(called, called, "the chain")
    blueprint = Blueprint(called, check_timeout(timeout, called), limits=limit)
    builder = Builder(blueprint)
    before: Ref[Any] = Ref(Origin(blueprint, INPUT))
    for index, step in enumerate(steps):
        seen = names[:index].count(names[index])
        given = NodeOptions()
        made = builder.handled(step, f"{names[index]}_{seen + 1}" if seen else names[index], NodeKind.TASK, given)
        builder.feed(made, [before])
        before = Ref(Origin(blueprint, made.name))
    blueprint.finish.append(before.node)
    return blueprint
