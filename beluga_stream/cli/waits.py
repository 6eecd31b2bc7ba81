"""What runs wait for: of one run, and of all those that have waited longer than they should."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, NamedTuple

from rich.text import Text

from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..application import codec
from ..application.catalog import Catalog
from ..application.clients.snapshot import remembered
from ..application.durable.inside import Durable, Inside
from ..application.messages import Progress
from ..application.partitioner import partition_of
from ..application.topics import Topics
from ..bootstrap.connection import check_partitions, kafka, topics
from ..bootstrap.declared import changelog_topic
from ..bootstrap.settings import Settings
from ..domain.ids import NodeName, RunId, key_of, node_of
from ..domain.state import Override, RunState
from ..domain.waiting import Waiting, waits
from .screen import console, duration, moment, moment_cell, print_json, table
from .values import settings_with

_BEFORE_START_MS = 60_000
"""Clocks of two processes may differ by so much."""


class Held(NamedTuple):
    """A run and one reason why it goes on."""

    state: RunState
    waiting: Waiting

    def as_json(self) -> dict[str, Any]:
        waiting = self.waiting
        return {
            "run": self.state.run,
            "graph": self.state.graph,
            "node": waiting.node,
            "on": waiting.on,
            "what": waiting.what,
            "since_ms": waiting.since_ms,
            "due_ms": waiting.due_ms,
        }

    def as_text(self, now_ms: int) -> Text:
        """One line for people."""
        waiting = self.waiting
        due = "" if waiting.due_ms is None else f", until {moment(waiting.due_ms)}"
        since = duration(max(now_ms - waiting.since_ms, 0))
        return Text(f"{waiting.node or 'the run'} waits for {waiting.what}: {since} so far{due}", style="magenta")


async def held(settings: Settings) -> list[Held]:
    """Every reason why runs go on."""
    reasons, _ = await _read(settings, None)
    return reasons


async def inspected(settings: Settings, run: RunId) -> tuple[list[Held], Mapping[NodeName, Override]]:
    """Why this run goes on, and what of it an operator has overridden."""
    reasons, states = await _read(settings, run)
    return reasons, next((state.overrides for state in states if state.run == run), {})


async def _read(settings: Settings, only: RunId | None) -> tuple[list[Held], list[RunState]]:
    names = topics(settings)
    numbers = range(names.partitions) if only is None else [partition_of(only.encode(), names.partitions)]
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(KafkaReader(kafka(settings)))
        await check_partitions(names, reader)
        catalog = Catalog(reader, names)
        await catalog.refresh()
        states = await remembered(reader, changelog_topic(settings), numbers, only)
        found = list(_reasons(catalog, [state for state in states if not state.ended]))
        inside = await _inside(reader, names, catalog, found)
    return [each for reason in found for each in (reason, *_inner(inside, reason))], states


async def _inside(reader: KafkaReader, names: Topics, catalog: Catalog, found: Sequence[Held]) -> Inside:
    """What the durable runs that are waited for have shown of themselves since they began."""
    durable = list(_durable(catalog, found))
    inside = Inside(durable)
    topic = names.run_results
    if not durable:
        return inside
    since = await reader.at_time(topic, min(each.since_ms for each in durable) - _BEFORE_START_MS)
    begins, ends = await reader.beginning(topic), await reader.end(topic)
    numbers = {partition_of(key_of(each.run).encode(), names.partitions) for each in durable}
    start = {number: max(since[number], begins[number]) for number in numbers}
    start = {number: offset for number, offset in start.items() if offset < ends[number]}
    if start:
        records = reader.read(topic, start, until={number: ends[number] for number in start})
        async with aclosing(records) as batches:
            async for batch in batches:
                for record in batch:
                    told = codec.results.decode(record.value)
                    if isinstance(told, Progress):
                        inside.read(told)
    return inside


def _durable(catalog: Catalog, found: Sequence[Held]) -> Iterator[Durable]:
    for state, waiting in found:
        plan, node = catalog.plan(state.definition), waiting.node
        if waiting.on != "workflow" or plan is None or node is None:
            continue
        child, run = plan.child(node_of(node)), state.nodes[node].child
        if child is not None and run is not None:
            yield Durable(run, node, child, waiting.since_ms)


def _inner(inside: Inside, held: Held) -> Iterator[Held]:
    node = held.waiting.node
    run = held.state.nodes[node].child if held.waiting.on == "workflow" and node is not None else None
    if run is not None:
        yield from (Held(held.state, waiting) for waiting in inside.waits(run))


async def list_stuck(*, patience_seconds: float, everything: bool, broker: str | None, as_json: bool) -> None:
    """The reasons that should be over by now; with `everything` those too that need not be."""
    now = SystemClock().now_ms()
    found = [
        each
        for each in await held(settings_with(broker=broker))
        if everything or each.waiting.is_late(now, int(patience_seconds * 1000))
    ]
    if as_json:
        print_json([each.as_json() for each in found])
        return
    shown = table("#run", "graph", "node", "waits for", ">since", "until")
    for state, waiting in found:
        until = "-" if waiting.due_ms is None else moment_cell(waiting.due_ms)
        since = duration(max(now - waiting.since_ms, 0))
        shown.add_row(str(state.run), state.graph, str(waiting.node or "-"), waiting.what, since, until)
    if found:
        console.print(shown)
    else:
        console.print("no run goes on" if everything else "no run is stuck")


def _reasons(catalog: Catalog, states: list[RunState]) -> Iterator[Held]:
    for state in states:
        plan = catalog.plan(state.definition)
        if plan is None:
            gone = Waiting(
                None, "code", f"its definition {state.definition}, which nobody has published", state.started_ms
            )
            yield Held(state, gone)
        else:
            yield from (Held(state, waiting) for waiting in waits(plan, state))
