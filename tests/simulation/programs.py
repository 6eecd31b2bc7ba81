"""Random programs: graphs of every kind with handlers whose outputs, failures and pace follow from their names.

A handler's output is a hash of its node and input, so that equal results mean that every node got what it
should. It fails as its node and item decide: never, the first times, or always.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace
from pydantic import TypeAdapter

from beluga_stream.application.execution.context import context
from beluga_stream.domain.definition import Edge, EdgeMode, Join, Node, NodeKind
from beluga_stream.domain.ids import GraphHash, NodeName, digest
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.handlers import Handler, Parameter, Program
from tests.unit.graphs import CHILDREN
from tests.unit.random_plans import random_plan, with_limits

ANY: TypeAdapter[Any] = TypeAdapter(Any)
_WITH_HANDLER = (NodeKind.TASK, NodeKind.STREAM, NodeKind.MAP, NodeKind.LOOP)
_DAY_MS = 86_400_000


class NotYet(Exception):
    """A failure that another attempt mends, or does not."""


def random_program(seed: int, size: int) -> Program:
    """A program that gives one result however its nodes are timed."""
    rnd = random.Random(seed)
    drawn = random_plan(rnd, size)
    definition = replace(
        drawn.definition,
        name=f"graph-{seed}",
        nodes=tuple(_one_way(each) for each in drawn.definition.nodes),
        edges=tuple(_into(drawn, _without_message(drawn, each)) for each in drawn.definition.edges),
        timeout_ms=_DAY_MS,
    )
    plan = Plan(definition)
    chance = random.Random(f"{seed}/limits")
    return program_of(with_limits(chance, plan) if chance.random() < 0.5 else plan, seed)


def _one_way(each: Node) -> Node:
    """Without races: no joins of the first, and signals that always come, each for one wait."""
    if each.kind is NodeKind.WAIT:
        return replace(each, signal=f"go-{each.name}", timeout_ms=None, remind_ms=each.remind_ms)
    return replace(each, join=Join.ALL)


def _without_message(drawn: Plan, each: Edge) -> Edge:
    """An outcome tells a message with run ids in it, which are others here; handlers leave it out, selects do not."""
    if each.mode is EdgeMode.OUTCOME and drawn.nodes[each.target].kind is NodeKind.SELECT:
        return replace(each, mode=EdgeMode.VALUE)
    return each


def _into(drawn: Plan, each: Edge) -> Edge:
    """Streams that are read live have parameters of their own."""
    is_live = each.mode is EdgeMode.STREAM and each in [way.edge for way in drawn.readers.get(each.source, ())]
    return replace(each, into=f"from_{each.source}") if is_live else each


def signals_of(program: Program) -> dict[str, object]:
    return {each.signal: [each.name, 1, 2] for each in program.definition.nodes if each.signal is not None}


def program_of(plan: Plan, seed: int) -> Program:
    children: dict[GraphHash, Program] = {}
    for each in plan.definition.nodes:
        if each.child is not None:
            children[each.child] = program_of(CHILDREN[each.child], 0)  # one for all programs: it has one hash
    handlers = {
        each.name: _handler(plan, each.name, seed)
        for each in plan.definition.nodes
        if (each.kind in _WITH_HANDLER and (each.child is None or each.kind is NodeKind.LOOP))
        or each.has_fallback
        or each.has_compensation
    }
    return Program(plan.definition, handlers, ANY, ANY, children)


def _handler(plan: Plan, name: NodeName, seed: int) -> Handler:
    declared = plan.nodes[name]
    feeds_a_map = any(plan.nodes[target].kind is NodeKind.MAP for target in plan.targets[name])
    numbers = sorted({edge.branch for edge in plan.outgoing[name] if edge.branch is not None})

    async def run(*values: Any) -> Any:
        await _pace(seed)
        _maybe_fail(declared, seed)
        read = [chunk async for chunk in _chunks(values)]
        if feeds_a_map:
            return list(range(_choice(seed, (0, 1, 3, 64, 65, 150), name)))
        return _short(name, [*read, values[-1]])

    async def stream(*values: Any) -> AsyncIterator[Any]:
        emitted = len(context().emitted(list[Any]))
        number = 0
        async for chunk in _chunks(values):
            if number >= emitted:
                yield [number, _short(name, chunk)]
            number += 1
        last = number + _choice(seed, (0, 1, 2, 5), name)
        for each in range(max(number, emitted), last):
            await _pace(seed)
            yield [each, _short(name, values[-1])]
            if each == 1:
                _maybe_fail(declared, seed)
        _maybe_fail(declared, seed)

    async def instead(*_: Any) -> Any:
        await _pace(seed)
        return [1, 2] if feeds_a_map else "instead"

    async def instead_stream(*values: Any) -> AsyncIterator[Any]:
        yield await instead(values)

    async def undo(*_: Any) -> None:
        await _pace(seed)

    streams = declared.kind is NodeKind.STREAM
    live = [edge.into for edge in plan.incoming[name] if edge.into is not None]
    parameters = (*(Parameter(into, ANY, EdgeMode.STREAM) for into in live), Parameter("value", ANY))
    branches = tuple((number, lambda value, n=number: _holds(value, n)) for number in numbers)
    fallback = Handler(instead_stream if streams else instead, parameters, ANY, streams=streams, branches=branches)
    return Handler(
        stream if streams else run,
        parameters,
        ANY,
        streams=streams,
        branches=branches,
        until=(lambda value: _holds(value, 7)) if declared.kind is NodeKind.LOOP else None,
        fallback=fallback if declared.has_fallback else None,
        compensate=Handler(undo, parameters, ANY) if declared.has_compensation else None,
    )


async def _chunks(values: Sequence[Any]) -> AsyncIterator[Any]:
    """What comes on the streams among a handler's arguments, one stream after the other."""
    for each in values[:-1]:
        if each is not None:
            async for chunk in each:
                yield chunk


async def _pace(seed: int) -> None:
    """Most handlers are quick, some outlive their delivery, few outlive a lease's length."""
    now = context()
    drawn = random.Random(f"{seed}/{now.incarnation}/{now.node}/{now.attempt}")
    share = drawn.random()
    if share < 0.6:
        await asyncio.sleep(drawn.uniform(0, 0.2))
    elif share < 0.95:
        await asyncio.sleep(drawn.uniform(0, 6))
    else:
        await asyncio.sleep(drawn.uniform(0, 60))


def _maybe_fail(declared: Node, seed: int) -> None:
    now = context()
    share = _drawn(f"{seed}/fails/{now.node}")
    if share < 0.03:
        raise NotYet("never")
    if share < 0.15 and now.attempt < declared.retry.attempts:
        raise NotYet("not yet")


@cache
def _drawn(what: str) -> float:
    return random.Random(what).random()


@cache
def _choice(seed: int, of: tuple[int, ...], name: str) -> int:
    return random.Random(f"{seed}/size/{name}").choice(of)


def _holds(value: Any, number: int) -> bool:
    return int(digest(str(number), repr(value))[:4], 16) % 10 < 7


def _short(name: str, value: Any) -> str:
    return f"{name}:{digest(repr(_without_messages(value)))[:8]}"


def _without_messages(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_messages(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_messages(each) for key, each in value.items() if key != "message"}
    return value
