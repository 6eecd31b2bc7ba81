"""What the reducer wants done: imperative, small, and rendered into records from the state it comes with.

They are kept in the run's table value until known to be sent (the unconfirmed intents), so
they hold names and not values.
"""

from typing import TypeAlias

from .frozen import Frozen
from .ids import LimitId, NodeKey, RunId
from .state import Signalled


class DispatchNode(Frozen, tag_field="type", tag="dispatch_node"):
    """Send this attempt to the workers of the node's queue."""

    node: NodeKey
    attempt: int


class StartChild(Frozen, tag_field="type", tag="start_child"):
    """Request the run of a subgraph, a map item's graph or a page."""

    node: NodeKey
    child: RunId


class RetryChild(Frozen, tag_field="type", tag="retry_child"):
    """Let a failed run that this run started go on from its failed nodes. `id` is the request's."""

    node: NodeKey
    child: RunId
    id: str = ""


class CancelChild(Frozen, tag_field="type", tag="cancel_child"):
    """Cancel a run that this run started."""

    node: NodeKey
    child: RunId


class SignalChild(Frozen, tag_field="type", tag="signal_child"):
    """Hand a signal to a run that this run started."""

    node: NodeKey
    child: RunId
    signal: Signalled


class OverrideChild(Frozen, tag_field="type", tag="override_child"):
    """Tell a page what its node has been overridden by."""

    node: NodeKey
    child: RunId


class BroadcastCancel(Frozen, tag_field="type", tag="broadcast_cancel"):
    """Tell every worker to stop these attempts (their `attempt_key`); none given means the whole run.

    `generation` grows with each cancel of a run, so that a later retry of the run is not hit by an earlier one.
    """

    generation: int
    attempts: tuple[str, ...] = ()


class PublishNode(Frozen, tag_field="type", tag="publish_node"):
    """Show a node's new status to the run's readers."""

    node: NodeKey
    status: str
    counter: int
    attempt: int


class PublishRun(Frozen, tag_field="type", tag="publish_run"):
    """Show the run's new status to its readers."""

    status: str
    counter: int


class RejectRun(Frozen, tag_field="type", tag="reject_run"):
    """Answer a start that contradicts the run which its id already has."""

    code: str
    message: str
    digest: str


class NotifyParent(Frozen, tag_field="type", tag="notify_parent"):
    """Tell the run that started this one how it ended."""


class AskSlot(Frozen, tag_field="type", tag="ask_slot"):
    """Ask a limit for a slot: for a node, or without one for the run. `number` tells their requests apart."""

    limit: LimitId
    node: NodeKey | None
    number: int


class ReturnSlot(Frozen, tag_field="type", tag="return_slot"):
    """Give a slot back, or no longer wait for it."""

    limit: LimitId
    node: NodeKey | None
    number: int


Command: TypeAlias = (
    DispatchNode
    | StartChild
    | RetryChild
    | CancelChild
    | SignalChild
    | OverrideChild
    | BroadcastCancel
    | PublishNode
    | PublishRun
    | RejectRun
    | NotifyParent
    | AskSlot
    | ReturnSlot
)
