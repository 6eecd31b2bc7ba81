"""A run that goes on and waits for nothing is taken up again, or fails: it never hangs.

No order of events leads there; a defect of the engine might. So what the run keeps in counts is counted anew
from the statuses of its nodes, and whatever that allows is begun.
"""

from .definition import NodeKind
from .draft import Decision, Draft
from .ending import compensate_next, fail_run
from .events import Failure
from .ids import node_of
from .parts import resume_parts
from .plan import Plan
from .resume import reopen
from .state import NODE_ENDED, NodeStatus, RunState, RunStatus
from .steps import settle
from .waiting import waits


def mend(plan: Plan, state: RunState, at_ms: int) -> Decision:
    """Begin what the run's statuses allow. Changes nothing in a run that waits for something."""
    if not _is_stalled(plan, state):
        return Decision(state)
    draft = Draft(plan, state, at_ms)
    if draft.status is RunStatus.COMPENSATING:
        compensate_next(draft)
        return draft.freeze()
    _count_anew(draft)
    settle(draft)
    if draft.status is RunStatus.RUNNING and _is_stalled(plan, draft.freeze().state):
        fail_run(draft, Failure("invalid_state", "the run waited for nothing: please report it; a retry may go on"))
    return draft.freeze()


def _is_stalled(plan: Plan, state: RunState) -> bool:
    return any(waiting.on == "nothing" for waiting in waits(plan, state))


def _count_anew(draft: Draft) -> None:
    page = draft.before.page
    names = draft.plan.order if page is None else (page.node,)
    draft.active = sum(draft.node(name).status not in NODE_ENDED for name in names)
    unsettled = {name for name in names if draft.node(name).status not in NODE_ENDED | {NodeStatus.PENDING}}
    working = {node_of(key) for key, node in draft.nodes.items() if key not in names and node.status not in NODE_ENDED}
    for name in names:
        status = draft.node(name).status
        has_parts = draft.plan.nodes[name].kind in (NodeKind.MAP, NodeKind.LOOP)
        if status is NodeStatus.WAITING and has_parts and name not in working:
            resume_parts(draft, draft.plan.nodes[name])
        elif status is NodeStatus.PENDING and page is None and reopen(draft, name, unsettled):
            unsettled.add(name)
