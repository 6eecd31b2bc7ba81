"""Whose code does a piece of work: that of its definition, or of a later one in which the node asks the same."""

from ...domain.ids import GraphHash
from ...domain.plan import Plan
from ...ports.handlers import Deployment, Program
from ..messages import NodeReady


class Code:
    """The programs of a deployment, by the work that they can do."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._plans: dict[GraphHash, Plan] = {}

    def of(self, work: NodeReady) -> Program | None:
        """What has the work's node, with the function that it asks for. None: nothing here can do it."""
        known = self._deployment.programs.get(work.definition)
        if known is not None or not work.shape:  # a coordinator of an earlier version does not say what is asked
            return known
        deployed = self._deployment.latest(work.graph)
        if deployed is None:
            return None
        plan = self._plan(deployed)
        return deployed if work.name in plan.nodes and plan.shape(work.name) == work.shape else None

    def _plan(self, program: Program) -> Plan:
        definition = program.definition
        found = self._plans.get(definition.hash)
        if found is None:
            found = self._plans[definition.hash] = Plan(definition)
        return found
