"""Overrides as the front desk prepares them: nothing is sent that the run would ignore.

A run is pinned to its definition, so that it is this one that must have the node, and not what is deployed by now.
"""

from ...domain.cover import is_cover
from ...domain.events import NodeOverridden
from ...domain.ids import RunId, key_of
from ...domain.overriding import check_target, check_values
from ...domain.plan import Plan
from ...domain.retention import FINAL
from ...errors import InvalidState, NotFound
from ...ports.clock import Clock
from ..catalog import Catalog
from ..messages import Summary
from .summaries import Summaries, check_remembered


class Overrides:
    """Makes events that override nodes."""

    def __init__(self, *, clock: Clock, summaries: Summaries, catalog: Catalog) -> None:
        self._clock = clock
        self._summaries = summaries
        self._catalog = catalog

    async def request(
        self, run: RunId, node: str, *, timeout_ms: int | None, attempts: int | None, is_expected: bool
    ) -> NodeOverridden:
        """The event, as `Runs.override` says it. `is_expected`: the run was started a moment ago, perhaps."""
        check_values(timeout_ms, attempts)
        if key_of(run) != run:
            raise InvalidState(f"run {run} is a part of run {key_of(run)}: override a node of that one", run=run)
        summary = await (self._summaries.awaited(run) if is_expected else self._summaries.newest(run))
        if summary is None:
            raise NotFound(f"there is no run {run} (yet)", run=run)
        now_ms = self._clock.now_ms()
        if summary.status in FINAL:
            raise InvalidState(f"run {run} has ended ({summary.status}): there is nothing to override", run=run)
        check_remembered(run, summary, now_ms)
        name = check_target(await self._plan(summary), run, node)
        return NodeOverridden(run=run, key=str(run), at_ms=now_ms, node=name, timeout_ms=timeout_ms, attempts=attempts)

    async def _plan(self, summary: Summary) -> Plan:
        run, definition = summary.run, summary.definition
        plan = await self._catalog.find(definition)
        if definition is None or plan is None:
            raise NotFound(f"the definition of run {run}, {definition}, is published no more", run=run)
        if is_cover(plan.definition):
            raise InvalidState(
                f"graph {summary.graph!r} is durable: its runs are workflows, whose nodes cannot be overridden: change "
                f"the graph and start a new run",
                run=run,
                graph=summary.graph,
            )
        return plan
