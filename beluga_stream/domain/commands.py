"""What the reducer wants done: imperative, small, and rendered into records from the state it comes with.

They are kept in the run's table value until known to be sent (the unconfirmed intents), so
they hold names and not values.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from .ids import NodeKey, RunId


@dataclass(frozen=True, slots=True)
class DispatchNode:
    """Send this attempt to the workers of the node's queue."""

    node: NodeKey
    attempt: int
    type: Literal["dispatch_node"] = "dispatch_node"


@dataclass(frozen=True, slots=True)
class StartChild:
    """Request the run of a subgraph, a map item's graph or a page."""

    node: NodeKey
    child: RunId
    type: Literal["start_child"] = "start_child"


@dataclass(frozen=True, slots=True)
class RetryChild:
    """Let a failed run that this run started go on from its failed nodes. `id` is the request's."""

    node: NodeKey
    child: RunId
    id: str = ""
    type: Literal["retry_child"] = "retry_child"


@dataclass(frozen=True, slots=True)
class CancelChild:
    """Cancel a run that this run started."""

    node: NodeKey
    child: RunId
    type: Literal["cancel_child"] = "cancel_child"


@dataclass(frozen=True, slots=True)
class BroadcastCancel:
    """Tell every worker to stop these attempts (`node key/attempt`); none given means the whole run.

    `generation` counts a run's cancels, so that a later retry of the run is not hit by an earlier one.
    """

    generation: int
    attempts: tuple[str, ...] = ()
    type: Literal["broadcast_cancel"] = "broadcast_cancel"


@dataclass(frozen=True, slots=True)
class PublishNode:
    """Show a node's new status to the run's readers."""

    node: NodeKey
    status: str
    counter: int
    attempt: int
    type: Literal["publish_node"] = "publish_node"


@dataclass(frozen=True, slots=True)
class PublishRun:
    """Show the run's new status to its readers."""

    status: str
    counter: int
    type: Literal["publish_run"] = "publish_run"


@dataclass(frozen=True, slots=True)
class RejectRun:
    """Answer a start that contradicts the run which its id already has."""

    code: str
    message: str
    digest: str
    type: Literal["reject_run"] = "reject_run"


@dataclass(frozen=True, slots=True)
class NotifyParent:
    """Tell the run that started this one how it ended."""

    type: Literal["notify_parent"] = "notify_parent"


Command: TypeAlias = Annotated[
    DispatchNode
    | StartChild
    | RetryChild
    | CancelChild
    | BroadcastCancel
    | PublishNode
    | PublishRun
    | RejectRun
    | NotifyParent,
    Field(discriminator="type"),
]
