"""Forks as the front desk prepares them: it reads what the earlier run was asked and what its nodes gave.

All of it is in the log: the request in `beluga.run-requests`, the statuses with outputs in `beluga.run-results`. The
values are stored anew as the new run's own: what is encrypted is bound to its run, and what the earlier run leaves
behind may be swept.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping

from ...domain.cover import is_cover
from ...domain.definition import NodeKind
from ...domain.events import Fork, RunRequested, Taken
from ...domain.forking import check_edited, check_node, parameters, taken_by
from ...domain.ids import NodeKey, NodeName, RunId, key_of, run_id
from ...domain.payload import INLINE_LIMIT_BYTES, NOTHING, Inline, Json, Payload
from ...domain.plan import Plan
from ...domain.state import NodeStatus, RunStatus
from ...errors import Expired, InvalidInput, InvalidState, NotFound, RecordTooLarge
from ...ports.clock import Clock
from ...ports.log import Reader, Record
from .. import codec
from ..catalog import Catalog
from ..messages import NodeChange, Progress, Summary
from ..payloads import Payloads
from ..requests import REQUEST_MOST_BYTES
from ..schemas import Schema
from ..topics import Topics
from .summaries import Summaries

_EARLIER_MS = 60_000
_TAKEN_BYTES = 64 * 1024
"""Room in the request for what is taken over, shared out among the nodes; the rest goes to the blob store."""
_LEAST_BYTES = 256


class _Told:
    """What the log tells of a run: the newest status of each node."""

    def __init__(self) -> None:
        self.nodes: dict[NodeKey, NodeChange] = {}
        self.is_undone = False
        self.first: int | None = None
        """The counter of the first status that is there; a run's own first one is 1."""

    def hear(self, progress: Progress) -> None:
        for change in progress.nodes:
            self._count(change.counter)
            known = self.nodes.get(change.node)
            if known is None or known.counter < change.counter:
                self.nodes[change.node] = change
        if progress.status is not None:
            self._count(progress.status.counter)
            self.is_undone = self.is_undone or progress.status.status == RunStatus.COMPENSATING

    def _count(self, counter: int) -> None:
        self.first = counter if self.first is None else min(self.first, counter)


class Forks:
    """Makes requests for forks."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        reader: Reader,
        payloads: Payloads,
        clock: Clock,
        summaries: Summaries,
        catalog: Catalog,
        partition: Callable[[RunId], int],
        new_id: Callable[[], str],
    ) -> None:
        self._names = topics
        self._reader = reader
        self._payloads = payloads
        self._clock = clock
        self._summaries = summaries
        self._partition = partition
        self._new_id = new_id
        self._catalog = catalog

    async def request(
        self, of: RunId, node: str, *, edited: Inline | None, idempotency_key: str | None, trace: str | None
    ) -> RunRequested:
        """The request for a run that goes on from another one at a node, as `Runs.request_fork` says it."""
        told, summary = await self._earlier(of)
        plan = await self._plan(summary)
        name = check_node(plan, node)
        if told.is_undone:
            raise InvalidState(
                f"run {of} has failed and was undone by its compensations: start a new run instead", run=of
            )
        statuses = {NodeName(key): change.status for key, change in told.nodes.items() if key in plan.nodes}
        taken = taken_by(plan, statuses, name, of)
        given = {} if edited is None else by_parameter(plan, name, edited.value)
        check_types(plan, name, given)
        key = idempotency_key if idempotency_key is not None else self._new_id()
        run = run_id(summary.graph, "fork", f"{of}\x1f{name}\x1f{key}")
        request = RunRequested(
            run=run,
            key=str(run),
            at_ms=self._clock.now_ms(),
            graph=summary.graph,
            definition=plan.hash,
            input=await self._own(run, await self._input(summary), f"the input of run {of}"),
            digest=self._payloads.digest([of, name, None if edited is None else [edited.value]]),
            trigger="fork",
            tags=summary.tags,
            trace=trace,
            fork=Fork(
                of,
                name,
                {each: await self._taken(run, plan, told.nodes[each], len(taken)) for each in sorted(taken)},
                await self._edited(run, plan, name, given),
            ),
        )
        size = len(codec.incoming.encode(request))
        if size > REQUEST_MOST_BYTES:
            raise RecordTooLarge(
                f"a fork of run {of} at {name!r} would take over {len(taken)} nodes in {size} bytes, and a request may "
                f"have {REQUEST_MOST_BYTES}: fork at a node that has fewer before it",
                run=of,
                node=name,
            )
        return request

    async def _earlier(self, of: RunId) -> tuple[_Told, Summary]:
        """What is told of the run. Raises `NotFound`, `Expired`, and `InvalidState` for what cannot be forked."""
        if key_of(of) != of:
            raise InvalidState(f"run {of} is a part of run {key_of(of)}: fork that one", run=of)
        summary = await self._summaries.newest(of)
        told = _Told()
        started_ms = 0 if summary is None else summary.started_ms
        async with contextlib.aclosing(self._records(self._names.run_results, of, started_ms)) as records:
            async for record in records:
                result = codec.results.decode(record.value)
                if isinstance(result, Progress) and result.run == of:
                    told.hear(result)
        if summary is None and told.first is None:
            raise NotFound(f"there is no run {of} (yet)", run=of)
        if told.first != 1:
            raise Expired(f"what happened in run {of} is kept no longer: start a new run instead", run=of)
        if summary is None:
            summary = await self._summaries.awaited(of)
        if summary is None:
            raise Expired(f"run {of} has no summary in {self._names.runs} any more", run=of)
        if summary.parent is not None:
            raise InvalidState(f"run {of} is a part of run {summary.parent}: fork that one", run=of)
        if summary.definition is None:
            raise InvalidState(f"run {of} was cancelled before it began: start a new run instead", run=of)
        return told, summary

    async def _plan(self, summary: Summary) -> Plan:
        await self._catalog.refresh()
        graph = summary.graph
        plan = self._catalog.plan(None, graph)
        if plan is None:
            raise NotFound(f"no graph {graph!r} is deployed any more", run=summary.run, graph=graph)
        if plan.hash != summary.definition:
            raise InvalidState(
                f"graph {graph!r} has changed since run {summary.run}, from {summary.definition} to {plan.hash}: what "
                f"the nodes gave may mean something else now; start a new run instead",
                run=summary.run,
                graph=graph,
            )
        if is_cover(plan.definition):
            raise InvalidState(
                f"graph {graph!r} is durable: its runs are workflows, which cannot be forked; start a new run instead",
                run=summary.run,
                graph=graph,
            )
        return plan

    async def _input(self, summary: Summary) -> Payload:
        """What the run was started with, by its request."""
        async with contextlib.aclosing(self._requests(summary)) as records:
            async for record in records:
                request = codec.incoming.decode(record.value)
                if isinstance(request, RunRequested) and _started(summary, request, record.offset):
                    return request.input
        raise Expired(
            f"the request that started run {summary.run} is kept no longer: start a new run instead", run=summary.run
        )

    def _requests(self, summary: Summary) -> AsyncGenerator[Record, None]:
        """The run's request. Where it lies an earlier version did not say: then what may be it, the oldest first."""
        topic, run = self._names.run_requests, summary.run
        if summary.request is None:
            return self._records(topic, run, summary.started_ms)
        return self._between(topic, run, summary.request, summary.request + 1)

    async def _records(self, topic: str, run: RunId, started_ms: int) -> AsyncGenerator[Record, None]:
        """The records of a run's key in its partition, from about its start to the end that there is now."""
        since = await self._reader.at_time(topic, max(0, started_ms - _EARLIER_MS))
        async with contextlib.aclosing(self._between(topic, run, since[self._partition(run)])) as records:
            async for record in records:
                yield record

    async def _between(
        self, topic: str, run: RunId, begin: int, end: int | None = None
    ) -> AsyncGenerator[Record, None]:
        """The records of a run's key in its partition from here on, of those that are kept."""
        partition = self._partition(run)
        there = (await self._reader.end(topic))[partition]
        end = there if end is None else min(end, there)
        begin = max(begin, (await self._reader.beginning(topic))[partition])
        if begin >= end:
            return
        key = run.encode()
        reading = self._reader.read(topic, {partition: begin}, until={partition: end})
        async with contextlib.aclosing(reading) as batches:
            async for batch in batches:
                for record in batch:
                    if record.key == key and record.value is not None:
                        yield record

    async def _taken(self, run: RunId, plan: Plan, change: NodeChange, parts: int) -> Taken:
        limit = min(INLINE_LIMIT_BYTES, max(_LEAST_BYTES, _TAKEN_BYTES // parts))
        output = None
        branches = change.branches or ()
        if change.status == NodeStatus.SUCCEEDED:
            if change.branches is None and change.node in plan.choosers:
                raise InvalidState(
                    f"which way run {run} went after {change.node!r} was not recorded by the version that ran it: "
                    f"start a new run instead",
                    node=change.node,
                )
            output = await self._own(run, change.output or NOTHING, f"what {change.node!r} gave", limit)
        return Taken(change.status, output, branches, change.failure)  # type: ignore[arg-type]  # it has ended

    async def _own(self, run: RunId, payload: Payload, what: str, limit_bytes: int | None = None) -> Payload:
        """A value of another run as one of this run."""
        try:
            value = await self._payloads.load(payload)
        except NotFound as error:
            raise NotFound(f"{what} is kept no longer: {error}", **error.ids) from error
        return await self._payloads.store(str(run), value, limit_bytes=limit_bytes)

    async def _edited(self, run: RunId, plan: Plan, name: NodeName, given: Mapping[str, Json]) -> dict[str, Payload]:
        edited = {each: await self._payloads.store(str(run), value) for each, value in given.items()}
        check_edited(plan, name, edited)
        return edited


def _started(summary: Summary, request: RunRequested, offset: int) -> bool:
    """Whether it is the request that the run came of: its key may have been used for another input."""
    if summary.request is None:
        return request.at_ms == summary.started_ms
    return offset == summary.request


def by_parameter(plan: Plan, name: NodeName, value: Json) -> dict[str, Json]:
    """An edited input of a node: the value of its sole parameter, or of several a mapping by their names.

    Raises `InvalidInput` for one that cannot be that.
    """
    known = parameters(plan, name)
    if len(known) == 1:
        return {known[0]: value}
    if known and isinstance(value, dict) and value.keys() <= set(known):
        return value
    wanted = f"give an object with some of {', '.join(known)}" if known else "fork it without another input"
    raise InvalidInput(f"node {name!r} cannot be given this input: {wanted}", node=name)


def check_types(plan: Plan, name: NodeName, given: Mapping[str, Json]) -> None:
    """Raises `InvalidInput` with the place in an edited input that is not what the node's code, or its graph, takes."""
    node, child = plan.nodes[name], plan.child(name)
    first = next(iter(parameters(plan, name)), None)
    for parameter, value in given.items():
        schema = Schema(child.definition.input_schema if child is not None else _schema_of(plan, name, parameter))
        within = (parameter,) if len(parameters(plan, name)) > 1 else ()
        if node.kind is NodeKind.MAP and parameter == first:
            items = value if isinstance(value, list) else ()
            misfits = [schema.misfit(item, *within, index) for index, item in enumerate(items)]
        else:
            misfits = [schema.misfit(value, *within)]
        misfit = next((each for each in misfits if each is not None), None)
        if misfit is not None:
            raise InvalidInput(
                f"the input does not fit node {name!r}: {misfit.place or 'the input'}: {misfit.message}",
                node=name,
                place=misfit.place,
            )


def _schema_of(plan: Plan, name: NodeName, parameter: str) -> Json:
    """None: it was published by a version that did not say it, or takes anything."""
    known = plan.definition.takes.get(name, {})
    return known.get(parameter) if parameter else next(iter(known.values()), None)
