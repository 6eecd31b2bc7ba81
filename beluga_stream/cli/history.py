"""Runs that are remembered: lists, one in detail, and what can be asked of one."""

import contextlib
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.text import Text

from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..api.client import RunStatus, status_of
from ..api.retry import milliseconds
from ..application import codec
from ..application.clients.desk import Desk
from ..application.clients.inner import RunStream
from ..application.clients.results import NodeChanged, RunChanged
from ..application.messages import Summary
from ..application.partitioner import partition_of
from ..bootstrap.client import open_desk
from ..bootstrap.connection import is_gateway, kafka, topics
from ..bootstrap.settings import Settings
from ..domain.ids import RunId, key_of
from ..domain.misspelt import meant
from ..domain.overriding import check_values
from ..domain.payload import Inline, Json, Payload
from ..domain.retention import FINAL
from ..domain.state import RUN_ENDED, Override
from ..domain.state import RunStatus as RunState
from ..errors import InvalidInput, InvalidState, KeyMissing, NotFound
from .runview import RunView
from .screen import console, duration, has_room, moment, moment_cell, pretty, print_json, short, styled, table
from .values import read_json, settings_with
from .waits import inspected

_BEFORE_START_MS = 60_000
_WHY_LETTERS = 60
"""So much of an error is in the list; `beluga runs show` has all."""


@dataclass(frozen=True)
class Wanted:
    """Which runs are listed: those that fit all that is given."""

    graph: str | None
    status: str | None
    tags: Mapping[str, str]
    parent: str | None

    def fits(self, run: Summary) -> bool:
        return (
            self.graph in (None, run.graph)
            and self.status in (None, run.status)
            and self.parent in (None, run.parent)
            and self.tags.items() <= dict(run.tags).items()
        )


async def list_runs(wanted: Wanted, *, limit: int, broker: str | None, as_json: bool) -> None:
    """The newest runs that fit, newest first. Raises `InvalidInput` for a status that no run can have."""
    if wanted.status is not None and wanted.status not in list(RunState):
        raise InvalidInput(f"there is no status {wanted.status!r}: a run is {', '.join(RunState)}")
    async with open_desk(settings_with(broker=broker)) as runs:
        known = await runs.summaries()
    found = [status_of(summary) for summary in known if wanted.fits(summary)]
    newest = found[::-1][:limit]
    if as_json:
        print_json([_status_json(run) for run in newest])
        return
    if not found:
        console.print(_none_of(wanted, {summary.graph for summary in known}), style="dim")
        return
    tells_why = any(run.error for run in newest) and has_room()
    shown = table("#run", "graph", "#status", "#started", ">took", "tags", *(["why"] if tells_why else []))
    for run in newest:
        took = None if run.ended_ms is None else run.ended_ms - run.started_ms
        tagged = " ".join(f"{name}={value}" for name, value in run.tags.items())
        why = [short(run.error or "", _WHY_LETTERS)] if tells_why else []
        shown.add_row(run.id, run.graph, styled(run.status), moment_cell(run.started_ms), duration(took), tagged, *why)
    console.print(shown)
    if len(found) > len(newest):
        console.print(f"and {len(found) - len(newest)} older ones: --limit shows more", style="dim")


def _none_of(wanted: Wanted, graphs: Collection[str]) -> str:
    """Why the list is empty, as far as the graph's name is the reason."""
    close = None if wanted.graph is None or wanted.graph in graphs else meant(wanted.graph, graphs)
    return "no runs" if close is None else f"no runs: is --graph {close} meant?"


async def show_run(run: str, *, node: str | None, broker: str | None, as_json: bool) -> None:
    """One run as it stands now, with its result, or what one of its nodes gave."""
    settings = settings_with(broker=broker)
    through_gateway = is_gateway(settings.broker)
    async with open_desk(settings, shows_sealed=True) as runs:
        summary = await _known(runs, run)
        seen = await (_told(runs, summary) if through_gateway else _now(settings, summary))
        if node is not None:
            print_json(await _given(runs, summary.run, node, seen))
            return
        ended_well = summary.status == "succeeded"
        output, gone = await _output(runs, summary.run, seen.output) if ended_well else (None, "")
    is_read = not (through_gateway or summary.status in FINAL)
    reasons, overrides = await inspected(settings, summary.run) if is_read else ([], {})
    view = seen.view
    if as_json:
        more: dict[str, Any] = {
            "retry_until_ms": summary.retry_until_ms,
            "trigger": summary.trigger,
            "definition": summary.definition,
            "nodes": view.nodes_json(),
        }
        if not through_gateway:
            more["waits"] = [reason.as_json() for reason in reasons]
            more["overrides"] = {
                name: {"timeout_ms": each.timeout_ms, "attempts": each.attempts} for name, each in overrides.items()
            }
        more |= {"output_gone": gone} if gone else {"output": output} if ended_well else {}
        print_json(_status_json(status_of(summary)) | more)
        return
    console.print(view.tree())
    now = SystemClock().now_ms()
    for reason in reasons:
        console.print(reason.as_text(now))
    for name, override in overrides.items():
        console.print(Text(f"{name} is overridden: {_told_override(override)}", style="magenta"))
    of = "" if summary.parent is None else f" {summary.parent}"
    forked = "" if summary.forked_from is None else f", goes on from {summary.forked_from}"
    console.print(f"started {moment(summary.started_ms)} by {summary.trigger}{of}{forked}", style="dim")
    if gone:
        console.print(Text(f"its result cannot be had: {gone}", style="yellow"))
    elif ended_well:
        console.print(pretty(output), soft_wrap=True)


async def _given(runs: Desk, run: RunId, node: str, seen: "_Seen") -> Json:
    """What a node gave. Raises `NotFound` that says why there is nothing."""
    if node in seen.outputs:
        return await runs.load(seen.outputs[node])
    if any((told["node"], told["status"]) == (node, "succeeded") for told in seen.view.nodes_json()):
        return await runs.outputs(run, node)  # a gateway tells why it cannot give it to who asks for it
    raise _nothing_of(node, seen.view, run)


def _nothing_of(node: str, view: RunView, run: str) -> NotFound:
    """Why there is no output of a node: the run tells of each node that it has begun."""
    begun = [str(told["node"]) for told in view.nodes_json()]
    close = None if node in begun else meant(node, begun)
    hint = "" if close is None else f": is {close!r} meant?"
    return NotFound(f"node {node!r} of run {run} has given nothing (yet){hint}", run=run, node=node)


async def _output(runs: Desk, run: RunId, output: Payload | None) -> tuple[Json, str]:
    """The run's result; or why it cannot be had, though the run is known. A gateway tells that to who asks for it."""
    try:
        return await (runs.result(run) if output is None else runs.load(output)), ""
    except (NotFound, KeyMissing) as error:
        return None, str(error)


async def cancel_run(run: str, *, reason: str, broker: str | None, as_json: bool) -> None:
    """Ask for the end of a run that has not ended."""
    async with open_desk(settings_with(broker=broker)) as runs:
        summary = await _known(runs, run)
        if summary.status in RUN_ENDED:
            raise InvalidState(f"run {run} has ended ({summary.status}): there is nothing to cancel", run=run)
        await runs.cancel(RunId(run), reason)
    _say({"run": run, "requested": "cancel"}, f"cancel of {run} is requested", as_json=as_json)


async def retry_run(run: str, *, broker: str | None, as_json: bool) -> None:
    """Let a failed run go on from its failed nodes."""
    async with open_desk(settings_with(broker=broker)) as runs:
        summary = await _known(runs, run)
        if summary.status not in RUN_ENDED:
            raise InvalidState(f"run {run} is {summary.status}: only a failed run can be retried", run=run)
        await runs.retry(RunId(run))
    _say({"run": run, "requested": "retry"}, f"retry of {run} is requested", as_json=as_json)


async def override_node(
    run: str, node: str, *, timeout_seconds: float | None, attempts: int | None, broker: str | None, as_json: bool
) -> None:
    """Give a node of a run another timeout or number of attempts."""
    timeout_ms = None if timeout_seconds is None else milliseconds(timeout_seconds)
    check_values(timeout_ms, attempts)
    async with open_desk(settings_with(broker=broker)) as runs:
        await runs.override(RunId(run), node, timeout_ms=timeout_ms, attempts=attempts)
    document = {"run": run, "node": node, "timeout_ms": timeout_ms, "attempts": attempts}
    told = _told_override(Override(timeout_ms, attempts))
    _say(document, f"an override of {node} of {run} is requested: {told}", as_json=as_json)


async def fork_run(
    run: str, node: str, *, edited: str | None, key: str | None, broker: str | None, as_json: bool
) -> None:
    """Start a run that goes on from another one at a node."""
    given = None if edited is None else Inline(await read_json(edited, None))
    async with open_desk(settings_with(broker=broker)) as runs:
        forked = await runs.fork(RunId(run), node, edited=given, idempotency_key=key)
    document = {"run": str(forked), "forked_from": run, "node": node}
    _say(document, f"run {forked} goes on from {run} at {node}: `beluga watch {forked}` follows it", as_json=as_json)


async def signal_run(
    run: str,
    name: str,
    value: Json,
    *,
    id: str | None,  # noqa: A002 - the signal's
    broker: str | None,
    as_json: bool,
) -> None:
    """Send a signal to a run that has not ended."""
    async with open_desk(settings_with(broker=broker)) as runs:
        summary = await _known(runs, run)
        if summary.status in RUN_ENDED - {"failed"}:
            raise InvalidState(f"run {run} has ended ({summary.status}): it hears no signals any more", run=run)
        await runs.signal(RunId(run), name, value, id=id, checked=True)
    _say({"run": run, "signal": name}, f"signal {name} is sent to {run}", as_json=as_json)


async def _known(runs: Desk, run: str) -> Summary:
    summary = await runs.summary(RunId(run))
    if summary is None:
        raise NotFound(f"there is no run {run}: `beluga runs list` shows those that are remembered", run=run)
    return summary


class _Seen(NamedTuple):
    """A run's events up to some moment, folded, with the outputs of its nodes and its own."""

    view: RunView
    outputs: dict[str, Payload]
    output: Payload | None


async def _told(runs: Desk, summary: Summary) -> _Seen:
    """What a gateway tells of the run up to now."""
    view, outputs, output = RunView(str(summary.run), summary.graph), dict[str, Payload](), None
    async with aclosing(runs.listen(summary.run)) as events:
        async for event in events:
            if event is None:
                break
            view.apply(event)
            if isinstance(event, NodeChanged) and event.output is not None:
                outputs[event.node] = event.output
            elif isinstance(event, RunChanged):
                output = event.output
    return _Seen(view, outputs, output)


async def _now(settings: Settings, summary: Summary) -> _Seen:
    """What the log tells of the run up to now. Of one that it has forgotten, the summary still has the output."""
    run, names = summary.run, topics(settings)
    view, fold = RunView(str(run), summary.graph), RunStream(run)
    outputs: dict[str, Payload] = {}
    partition = partition_of(run.encode(), names.partitions)
    async with contextlib.AsyncExitStack() as stack:
        reader = await stack.enter_async_context(KafkaReader(kafka(settings)))
        end = (await reader.end(names.run_results))[partition]
        begin = (await reader.beginning(names.run_results))[partition]
        from_time = await reader.at_time(names.run_results, summary.started_ms - _BEFORE_START_MS)
        records = reader.read(names.run_results, {partition: max(begin, from_time[partition])}, until={partition: end})
        async for batch in await stack.enter_async_context(aclosing(records)):
            for record in batch:
                result = codec.results.decode(record.value)
                if key_of(result.run) != run:
                    continue
                for event in fold.read(result, f"{partition}-{record.offset}"):
                    view.apply_at(event, result.at_ms)
                    if isinstance(event, NodeChanged) and event.output is not None:
                        outputs[event.node] = event.output
    return _Seen(view, outputs, summary.output)


def _status_json(run: RunStatus) -> dict[str, Any]:
    return {
        "run": run.id,
        "graph": run.graph,
        "status": run.status,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "tags": dict(run.tags),
        "error": run.error,
        "parent": run.parent,
        "forked_from": run.forked_from,
    }


def _told_override(override: Override) -> str:
    timeout = () if override.timeout_ms is None else (f"a timeout of {override.timeout_ms / 1000:g} s",)
    attempts = () if override.attempts is None else (f"{override.attempts} attempts",)
    return " and ".join((*timeout, *attempts))


def _say(document: dict[str, Any], line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        console.print(line)
