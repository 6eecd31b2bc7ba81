"""One execution of a node: sent to a worker or begun as a child run, done, or given up."""

from .commands import DispatchNode, RetryChild, StartChild
from .draft import Draft
from .ending import fail_run
from .events import Failure
from .flow import resolve_edges
from .handing import hand_kept
from .ids import NodeKey, NodeName, attempt_key, child_run_id, is_page, near_run_id
from .limiting import ask, must_ask
from .payload import Payload
from .state import NodeStatus
from .streams import close, interrupt


def dispatch(
    draft: Draft,
    key: NodeKey,
    *,
    tries: int = 1,
    losses: int = 0,
    fallback: bool = False,
    failure: Failure | None = None,
) -> None:
    """Send the node's next attempt to the workers, once it has the slots of its limits.

    `failure` is why there was need of another. A fallback stands in without a slot, if the handler never had one.
    """
    if not fallback and must_ask(draft, key):
        ask(draft, key, tries=tries, failure=failure)
        return
    interrupt(draft, key, resumes=not fallback)
    new = draft.move(
        key,
        NodeStatus.READY,
        attempt=draft.node(key).attempt + 1,
        tries=tries,
        losses=losses,
        incarnation=None,
        worker=None,
        failure=failure,
        fallback=fallback,
        child=None,
    )
    draft.commands.append(DispatchNode(key, new.attempt))


def start_child(draft: Draft, key: NodeKey) -> None:
    """Begin a run for this execution; after the first attempt it is another run, with another id."""
    attempt = draft.node(key).attempt + 1
    named = key if attempt == 1 else NodeKey(f"{key}/{attempt}")
    here = is_page(key) or draft.plan.starts_durable(key)
    child = near_run_id(draft.run, named) if here else child_run_id(draft.run, named)
    draft.move(
        key,
        NodeStatus.WAITING,
        attempt=attempt,
        tries=1,
        fallback=False,
        failure=None,
        child=child,
        total=0,
        handed={},
    )
    draft.commands.append(StartChild(key, child))
    hand_kept(draft, key)


def child_again(draft: Draft, key: NodeKey) -> None:
    """For `retry`: a failed child goes on from its failed nodes; one that was cancelled is begun anew."""
    old = draft.node(key)
    if old.status is not NodeStatus.FAILED or old.child is None:
        start_child(draft, key)
        return
    new = draft.move(key, NodeStatus.WAITING, attempt=old.attempt + 1, failure=None, handed={})
    draft.commands.append(RetryChild(key, old.child, attempt_key(key, new.attempt)))
    hand_kept(draft, key)


def complete(draft: Draft, name: NodeName, output: Payload) -> None:
    """A declared node has its output: end it and resolve its edges."""
    draft.move(name, NodeStatus.SUCCEEDED, output=output, failure=None)
    resolve_edges(draft, name)


def give_up(draft: Draft, name: NodeName, failure: Failure) -> None:
    """A declared node has failed for good: go on without it, or fail the run.

    A page always fails: whether the map's failure is forgiven is its parent's to decide.
    """
    is_forgiven = name in draft.plan.forgiving and draft.before.page is None
    if is_forgiven:
        close(draft, name)
    draft.move(name, NodeStatus.FAILED, failure=failure)
    if is_forgiven:
        resolve_edges(draft, name)
    else:
        fail_run(draft, failure)
