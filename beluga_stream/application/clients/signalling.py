"""Whether a signal may be what its run waits for: its name, and its value by the schemas that are published.

A value that fits no wait would end the wait all the same, and fail whatever reads it, for good.
"""

from collections.abc import Iterable, Iterator

from ...domain.definition import Definition
from ...domain.events import SignalReceived
from ...domain.ids import RunId
from ...domain.misspelt import advice
from ...domain.payload import Inline, Json
from ...domain.plan import Plan
from ...errors import InvalidInput, NotFound
from ...ports.handlers import Program
from ..catalog import Catalog, covered
from ..schemas import Schema
from .summaries import Summaries


class Signals:
    """Checks signals before they are sent."""

    def __init__(self, summaries: Summaries, catalog: Catalog) -> None:
        self._summaries = summaries
        self._catalog = catalog

    async def check(self, run: RunId, signal: str, value: Json) -> None:
        """Raises as `check_name` and `check_value` do. Nothing is known of a run that has no summary yet."""
        summary = await self._summaries.newest(run)
        if summary is None or summary.definition is None:
            return
        plan = await self._catalog.find(summary.definition)
        if plan is not None:
            check_name(covered(plan), signal)
            check_value(covered(plan), signal, value)


def check_awaited(program: Program, signals: Iterable[str]) -> None:
    """Raises `InvalidInput` for a signal that nothing waits for: its run would wait for another until its time is up.

    For a run that is about to begin with its signals, by the very code that is asked.
    """
    for signal in signals:
        awaited = _awaited(program)
        if signal not in awaited:
            there = f"it waits for {', '.join(map(repr, sorted(awaited))) or 'none'}"
            name = program.definition.name
            raise InvalidInput(f"graph {name!r} does not wait for signal {signal!r}: {there}", graph=name)


def check_taken(definitions: Iterable[Definition], signal: str, workflow: str) -> None:
    """Raises `NotFound` for a signal that no wait takes in these graphs, which a workflow is made of."""
    known = sorted({node.signal for each in definitions for node in each.nodes if node.signal is not None})
    if signal not in known:
        there = advice(signal, known, f"it waits for {', '.join(known) or 'none'}")
        raise NotFound(f"workflow {workflow} waits for no signal {signal!r}: {there}", workflow=workflow, signal=signal)


def check_name(plan: Plan, signal: str) -> None:
    """Raises `NotFound` for a signal that neither a wait of the graph nor one of its subgraphs takes."""
    if plan.takes(signal) > 0:
        return
    known = sorted(set(_names(plan)))
    there = advice(signal, known, f"it waits for {', '.join(known) or 'none'}")
    graph = plan.definition.name
    raise NotFound(f"graph {graph!r} waits for no signal {signal!r}: {there}", graph=graph, signal=signal)


def check_value(plan: Plan, signal: str, value: Json) -> None:
    """Raises `InvalidInput` where each wait of the graph for this signal takes something else.

    What waits of its subgraphs take is for them to say.
    """
    misfits = [
        Schema(next(iter(plan.definition.takes.get(wait, {}).values()), None)).misfit(value)
        for wait in plan.waits.get(signal, ())
    ]
    if not misfits or plan.takes(signal) > len(misfits) or None in misfits:
        return
    first = misfits[0]
    assert first is not None, "there is one of each wait"
    graph = plan.definition.name
    told = f"signal {signal!r} of graph {graph!r} does not take this value: {first.place or 'the value'}"
    raise InvalidInput(f"{told}: {first.message}", graph=graph, signal=signal, place=first.place)


def check_received(plan: Plan, event: SignalReceived) -> None:
    """`check_value` of a signal whose value is in its record; others are as their senders say."""
    if isinstance(event.value, Inline):
        check_value(plan, event.signal, event.value.value)


def _awaited(program: Program) -> set[str]:
    own = {node.signal for node in program.definition.nodes if node.signal is not None}
    return own.union(*map(_awaited, program.children.values()))


def _names(plan: Plan) -> Iterator[str]:
    yield from plan.waits
    for name in plan.starters:
        child = plan.child(name)
        if child is not None:
            yield from _names(child)
