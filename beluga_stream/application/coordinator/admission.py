"""Admission: whether a request becomes a run, and the answer when it does not."""

import logging

from ...domain.events import ChildFinished, Failure, RunRequested
from ...domain.forking import check_fork
from ...domain.frozen import replace
from ...domain.limit import keys_of
from ...domain.payload import Inline, Picked, seals_of
from ...domain.plan import Plan
from ...errors import BelugaError, InvalidState, KeyMissing, LogUnavailable, NotFound
from ...ports.log import Outgoing
from ...ports.spans import NO_SPANS, Spans
from .. import codec, tracing
from ..catalog import Catalog
from ..messages import Rejected
from ..payloads import Payloads
from ..requests import check_map
from ..topics import Topics

log = logging.getLogger("beluga_stream.coordinator")


class Admission:
    """Finds the definition of a requested run and checks its input."""

    def __init__(
        self, topics: Topics, catalog: Catalog, payloads: Payloads, spans: Spans = NO_SPANS, *, workflows: bool = False
    ) -> None:
        """`workflows`: whether somebody hosts those of durable graphs."""
        self._workflows = workflows
        self._names = topics
        self._catalog = catalog
        self._payloads = payloads
        self._spans = spans

    async def admit(self, event: RunRequested, now: int) -> tuple[RunRequested, Plan | None, list[Outgoing] | None]:
        """The request as it is taken, with the definition of the new run, or the answer that refuses it.

        Raises `LogUnavailable`, which is no fault of the request.
        """
        found = await self._catalog.find(event.definition, event.graph)
        try:
            plan = self._runnable(found, event)
            event = await self._with_own_input(event)
            if event.parent is None and isinstance(event.input, Inline):
                self._catalog.check_input(plan, event.input.value)
            if event.fork is not None:
                check_fork(plan, event.fork)
            check_map(plan, event)
            event = await self._with_keys(plan, event)
        except LogUnavailable:
            raise
        except BelugaError as error:
            return event, None, self._refusal(event, error, now)
        if self._spans.on and not tracing.is_trace(event.trace):
            event = replace(event, trace=tracing.new_trace(self._spans, event.run))
        return event, plan, None

    def _runnable(self, found: Plan | None, event: RunRequested) -> Plan:
        """Raises `NotFound` for a graph that nobody has deployed, and `InvalidState` for one that nobody can run."""
        graph = event.graph
        if found is None:
            close = self._catalog.meant(graph)
            told = "" if close is None else f": is {close!r} meant?"
            raise NotFound(f"no graph {graph!r} is deployed{told}", graph=graph)
        plan = self._catalog.covering(found)
        if event.page is None and plan.needs_workflows and not self._workflows:
            raise InvalidState(
                f"graph {graph!r} is durable, or has a durable graph in it, and no Temporal is configured: set "
                f"BELUGA_TEMPORAL_ADDRESS for the coordinators and for a process with the role workflows, or leave "
                f"durable=True out",
                graph=graph,
            )
        return plan

    async def _with_keys(self, plan: Plan, event: RunRequested) -> RunRequested:
        """A run is told by which values in its input its limits go; a page is told by its parent.

        Of an input that is encrypted they are kept as digests. Raises `KeyMissing` when nobody here can read it.
        """
        if event.page is not None:
            return event
        if not plan.keyed:
            return replace(event, keys={}) if event.keys else event
        keys = keys_of(plan.keyed, await self._payloads.load(event.input))
        if any(seals_of(event.input)):
            keys = {path: f"#{self._payloads.digest(value)}" for path, value in keys.items()}
        return replace(event, keys=keys)

    async def _with_own_input(self, event: RunRequested) -> RunRequested:
        """A run over one item of a stored list gets that item as its own input: it may map over it in turn.

        An item that is encrypted with a key that is not here stays where it is: only a map over it needs more.
        """
        if not isinstance(event.input, Picked):
            return event
        try:
            value = await self._payloads.load(event.input)
        except KeyMissing:
            return event
        return replace(event, input=await self._payloads.store(str(event.run), value))

    def _refusal(self, event: RunRequested, error: BelugaError, now: int) -> list[Outgoing]:
        log.warning("rejected a start: %s", error, extra={"action": "reject", "run": event.run, "graph": event.graph})
        rejected = Rejected(
            run=event.run,
            graph=event.graph,
            at_ms=now,
            code=error.code,
            message=str(error),
            digest=event.digest,
        )
        records = [Outgoing(self._names.run_results, event.key.encode(), codec.results.encode(rejected))]
        if event.parent is not None:
            parent = event.parent
            told = ChildFinished(
                run=parent.run,
                key=parent.key,
                at_ms=now,
                node=parent.node,
                child=event.run,
                status="rejected",
                failure=Failure(error.code, str(error)),
                began=parent.began,
            )
            records.append(Outgoing(self._names.run_events, parent.key.encode(), codec.incoming.encode(told)))
        return records
