"""Memory as nodes of the graph: one loads before the others, one saves after all of them.

So what holds for nodes holds for memory, on every engine: retries, replays, crashes, and that a completion counts once.
What is saved is saved under the run's id, which makes the node that saves one that may run twice.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from typing import Any, get_args, get_origin, is_typeddict

from pydantic import TypeAdapter

from ..application.execution.context import context
from ..application.in_process.in_process import InProcessStore
from ..domain.definition import EdgeMode, NodeKind
from ..domain.ids import INPUT
from ..errors import InvalidConfig, InvalidGraph, InvalidInput
from .blueprint import Blueprint, Link, Step
from .fit import fits, shown
from .history import History
from .memory import Memory, StoredMemory, loaded, save
from .resource import is_resource
from .signature import signature_of

LOAD, SAVE = "memory_load", "memory_save"
"""Names of nodes of a graph with memory."""

_STORE = "store"

Conversation = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Remembered:
    """A memory, and whose it is: `conversation` tells by a run's input. Raises `InvalidConfig` for no memory."""

    memory: Memory
    conversation: Conversation | None = None

    def __post_init__(self) -> None:
        memory: object = self.memory
        if not isinstance(memory, Memory):
            raise InvalidConfig(
                f"memory= is a {type(memory).__name__}: give a BufferMemory or another of its kind, or an object with "
                f"memory_variables, load_memory_variables, save_context and clear"
            )
        if self.conversation is not None and not isinstance(memory, StoredMemory):
            raise InvalidConfig(
                f"conversation= is for memories of many conversations, and a {type(memory).__name__} is that of one"
            )

    @property
    def store_kind(self) -> type | None:
        """The type of the `@resource` that its store is."""
        store = self.memory.store if isinstance(self.memory, StoredMemory) else None
        return store if isinstance(store, type) else None

    @property
    def is_shared(self) -> bool:
        """Whether other processes remember the same, as far as can be told."""
        return not (isinstance(self.memory, StoredMemory) and isinstance(self.memory.store, InProcessStore))

    def opened(self, given: Any, store: Any) -> Memory:
        """The memory of the conversation of this input. Raises `InvalidInput` when the input names none."""
        if not isinstance(self.memory, StoredMemory):
            return self.memory
        return self.memory.of(self._conversation_of(given), turn=context().run_id or None, store=store)

    def _conversation_of(self, given: Any) -> str:
        assert isinstance(self.memory, StoredMemory), "others have one"
        if self.conversation is None:
            return self.memory.conversation
        try:
            found: object = self.conversation(given)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise InvalidInput(f"conversation= cannot tell whose turn this is: it raised {told}") from error
        if not isinstance(found, str) or not found:
            raise InvalidInput(f"conversation= gave {found!r} for this input: it must give a text, as 'user-7'")
        return found


def remembered(memory: Memory | None, conversation: Conversation | None) -> Remembered | None:
    """What a chain or graph was given. Raises `InvalidConfig`."""
    if memory is not None:
        return Remembered(memory, conversation)
    if conversation is not None:
        raise InvalidConfig("conversation= says whose memory is used, and there is no memory=")
    return None


def is_history(kind: object) -> bool:
    """Whether a parameter of this type is filled by the memory."""
    return kind is History


def merges(blueprint: Blueprint) -> bool:
    """Whether its input is merged with what is remembered: no handler asks for the `History`."""
    return not any(_histories(blueprint, name) for name in blueprint.steps)


def with_memory(blueprint: Blueprint, memory: Remembered, given: Any) -> Blueprint:
    """The graph with the nodes that load and save. `given` is the type of its input.

    Handlers with a parameter of type `History` get it there; when there is none, the input must be a mapping, and
    whoever takes it gets it with what is remembered. Raises `InvalidGraph` when neither is possible.
    """
    graph = blueprint.graph
    for name in (LOAD, SAVE):
        if name in blueprint.steps:
            raise InvalidGraph(
                f"graph {graph!r}: {name!r} is the name of a node of its memory: give yours another name=",
                graph=graph,
                node=name,
            )
    kind = memory.store_kind
    if kind is not None and not is_resource(kind):
        raise InvalidGraph(
            f"graph {graph!r}: the store of its memory is the class {kind.__name__}, which no @resource gives: declare "
            f"one, or give a store itself",
            graph=graph,
        )
    merged = merges(blueprint)
    if merged:
        _check_mapping(graph, given, memory.memory.memory_variables)
    load = Step(LOAD, NodeKind.TASK, handler=_load_node(memory, given, merged=merged))
    ends = [name for name in blueprint.steps if not any(link.source == name for link in blueprint.links)]
    others = [name for name in ends if name not in blueprint.finish]
    finish = [blueprint.steps[name] for name in blueprint.finish]
    saving = Step(SAVE, NodeKind.TASK, handler=_save_node(memory, given, finish))
    links = [_after_load(link) if merged else link for link in blueprint.links]
    if not merged:
        links += [Link(LOAD, name, into) for name in blueprint.steps for into in _histories(blueprint, name)]
    links = [
        Link(str(INPUT), LOAD, 0, EdgeMode.VALUE),
        *links,
        Link(str(INPUT), SAVE, 0, EdgeMode.VALUE),
        *(Link(name, SAVE, place, EdgeMode.VALUE) for place, name in enumerate(blueprint.finish, 1)),
        *(Link(name, SAVE, mode=EdgeMode.ORDER) for name in others),
    ]
    steps = {LOAD: load, **blueprint.steps, SAVE: saving}
    return replace(blueprint, steps=steps, links=links, memory=None)


def check_unremembered(blueprint: Blueprint) -> None:
    """Raises `InvalidGraph` for a handler that asks a graph without memory for its history."""
    for name in blueprint.steps:
        for parameter in _histories(blueprint, name):
            if not any(link.target == name and link.into == parameter for link in blueprint.links):
                raise InvalidGraph(
                    f"graph {blueprint.graph!r}: parameter {parameter!r} of node {name!r} is a History, and the graph "
                    f"has no memory: give it one, memory=BufferMemory()",
                    graph=blueprint.graph,
                    node=name,
                )


def _after_load(link: Link) -> Link:
    """A link from the input, from what is loaded instead."""
    return replace(link, source=LOAD) if link.source == INPUT and link.mode is not EdgeMode.ORDER else link


def _histories(blueprint: Blueprint, name: str) -> list[str]:
    """The parameters of a step that want the history. Raises `InvalidGraph` where they cannot have it."""
    step = blueprint.steps[name]
    if step.handler is None:
        return []
    found = [one.name for one in signature_of(step.handler, blueprint.graph, name).arguments if is_history(one.kind)]
    if found and step.kind in (NodeKind.MAP, NodeKind.LOOP):
        raise InvalidGraph(
            f"graph {blueprint.graph!r}: node {name!r} is a {step.kind}, whose handler is fed one value: take the "
            f"History in a node before it",
            graph=blueprint.graph,
            node=name,
        )
    return found


def _load_node(memory: Remembered, given: Any, *, merged: bool) -> Callable[..., Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(given)

    async def memory_load(value: Any, store: Any = None) -> Any:
        one = memory.opened(value, store)
        inputs = _named(adapter, value, "input")
        if merged:
            if not isinstance(value, Mapping):
                told = "name a parameter of type History in a handler, or take a mapping"
                raise InvalidInput(f"the input is a {type(value).__name__}, which has no place for a memory: {told}")
            return {**await loaded(one, inputs), **inputs}
        if isinstance(one, StoredMemory):
            return await one.recall(inputs)
        return History(variables=await loaded(one, inputs))

    return _declared(memory_load, [("value", given)], dict[str, Any] if merged else History, memory.store_kind)


def _save_node(memory: Remembered, given: Any, finish: list[Step]) -> Callable[..., Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(given)
    anything: TypeAdapter[Any] = TypeAdapter(Any)

    async def memory_save(value: Any, *outputs: Any, store: Any = None) -> None:
        found = {step.name: _whole(step, one) for step, one in zip(finish, outputs, strict=True)}
        several = {name: one for name, one in found.items() if one is not None}
        output = several if len(finish) > 1 else found[finish[0].name]
        await save(memory.opened(value, store), _named(adapter, value, "input"), _named(anything, output, "output"))

    taken = [("value", given), *((f"output_{place}", Any) for place in range(len(finish)))]
    return _declared(memory_save, taken, None, memory.store_kind)


def _whole(step: Step, output: Any) -> Any:
    """An output as it is remembered: the chunks of a stream of texts are one text."""
    is_text = step.kind is NodeKind.STREAM and output and all(isinstance(chunk, str) for chunk in output)
    return "".join(output) if is_text else output


def _declared(
    function: Callable[..., Awaitable[Any]], taken: list[tuple[str, Any]], given: Any, store: type | None
) -> Callable[..., Any]:
    """The function with the parameters and types that the engine is to see."""
    parameters = [Parameter(name, Parameter.POSITIONAL_ONLY) for name, _ in taken]
    function.__annotations__ = {**dict(taken), "return": given}
    if store is not None:
        parameters.append(Parameter(_STORE, Parameter.KEYWORD_ONLY))
        function.__annotations__[_STORE] = store
    function.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # what inspect looks for first
    return function


def _named(adapter: TypeAdapter[Any], value: Any, name: str) -> dict[str, Any]:
    """A value as JSON, by names: a mapping's or a model's own."""
    json = adapter.dump_python(value, mode="json")
    return json if isinstance(json, dict) else {name: json}


def _check_mapping(graph: str, given: Any, variables: Any) -> None:
    origin = get_origin(given) or given
    kinds = get_args(given)
    is_mapping = given is Any or is_typeddict(origin) or (isinstance(origin, type) and issubclass(origin, Mapping))
    if is_mapping and (len(kinds) < 2 or fits(list, kinds[1])):  # noqa: PLR2004 - key and value
        return
    has = "no place for it" if not is_mapping else f"no place for {', '.join(map(repr, variables))}"
    raise InvalidGraph(
        f"graph {graph!r} has a memory that nobody reads: its input is {shown(given)}, which has {has}: give a handler "
        f"a parameter `history: History = INJECTED`, or take a dict[str, Any]",
        graph=graph,
    )
