"""Nodes that run in parts: the items of a map, the pages of a large one, the passes of a loop."""

from .definition import Node, NodeKind
from .draft import Draft
from .events import Failure
from .execution import child_again, complete, dispatch, give_up, start_child
from .flow import argument_of, executions, taken_edges
from .frozen import replace
from .ids import NodeKey, index_of, is_page, item_key, page_key, pass_key
from .payload import NOTHING, Paged, gather, length_of, seals_of
from .state import NodeStatus

PAGE = 64
"""Maps above this many items are split into page runs of this many."""


def begin_map(draft: Draft, node: Node) -> None:
    """Begin as many items as may run at once. Fails when the source gave no list."""
    source = taken_edges(draft, node.name)[0]
    total = length_of(argument_of(draft, source))
    if total is None:
        message = f"{source.source} gave no list for the map {node.name} to go over"
        if any(seals_of(argument_of(draft, source))):
            message += ", or one that is encrypted with a key that the coordinator does not have"
        give_up(draft, node.name, Failure("invalid_input", message, node=node.name))
        return
    if total == 0:
        complete(draft, node.name, gather([]))
        return
    attempt = draft.node(node.name).attempt + 1
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, next=0, total=total, open=0)
    _open_items(draft, node)


def begin_page(draft: Draft, node: Node, start: int, stop: int) -> None:
    """Begin the items that this page run is there for."""
    draft.active = 1
    draft.move(node.name, NodeStatus.WAITING, attempt=1, next=start, total=stop, open=0)
    _open_items(draft, node)


def begin_loop(draft: Draft, node: Node) -> None:
    """Begin the first pass."""
    attempt = draft.node(node.name).attempt + 1
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, next=1, total=node.max_passes)
    dispatch(draft, pass_key(node.name, 1))


def part_succeeded(draft: Draft, node: Node, key: NodeKey, *, done: bool) -> None:
    """An item, page or pass has its output: open the next, or end the whole."""
    if node.kind is NodeKind.LOOP:
        _pass_succeeded(draft, node, key, done=done)
    else:
        _item_succeeded(draft, node, key)


def resume_parts(draft: Draft, node: Node) -> None:
    """For `retry`: begin the parts of a map or loop again that did not succeed."""
    parts = executions(draft, node.name)
    left = [key for key in parts if draft.node(key).status is not NodeStatus.SUCCEEDED]
    state = draft.node(node.name)
    attempt = state.attempt + 1
    if node.kind is NodeKind.LOOP:
        if left:
            draft.move(node.name, NodeStatus.WAITING, attempt=attempt, failure=None)
        else:
            # Every pass is done and `until` never held: whoever retries gives it as many again.
            total = state.next + node.max_passes
            draft.move(node.name, NodeStatus.WAITING, attempt=attempt, failure=None, total=total)
            _next_pass(draft, node)
    else:
        draft.move(node.name, NodeStatus.WAITING, attempt=attempt, failure=None, open=len(left))
    for key in left:
        if _is_child(node, key):
            child_again(draft, key)
        else:
            dispatch(draft, key)


def _is_child(node: Node, key: NodeKey) -> bool:
    return is_page(key) or node.child is not None


def _step_of(draft: Draft, total: int) -> int:
    """1: single items; PAGE: pages of a large map (a page itself has single items)."""
    return 1 if draft.before.page is not None or total <= PAGE else PAGE


def _open_items(draft: Draft, node: Node) -> None:
    """Begin items or pages until `max_parallel` are under way."""
    state = draft.node(node.name)
    step = _step_of(draft, state.total)
    most = node.max_parallel if step == 1 else max(1, node.max_parallel // PAGE)
    upto, opened = state.next, state.open
    while upto < state.total and opened < most:
        if step > 1:
            start_child(draft, page_key(node.name, upto, min(upto + step, state.total)))
        elif node.child is not None:
            start_child(draft, item_key(node.name, upto))
        else:
            dispatch(draft, item_key(node.name, upto))
        upto += step
        opened += 1
    if upto != state.next:
        draft.keep(node.name, replace(state, next=upto, open=opened))


def _item_succeeded(draft: Draft, node: Node, key: NodeKey) -> None:
    state = draft.node(node.name)
    draft.keep(node.name, replace(state, open=state.open - 1))
    _open_items(draft, node)
    state = draft.node(node.name)
    if state.open > 0:
        return
    start = draft.before.page.start if draft.before.page is not None else 0
    step = _step_of(draft, state.total)
    if step == 1:
        parts = [item_key(node.name, at) for at in range(start, state.total)]
    else:
        starts = range(0, state.total, step)
        parts = [page_key(node.name, at, min(at + step, state.total)) for at in starts]
    outputs = [draft.node(part).output or NOTHING for part in parts]
    for part in parts:
        # The list has them now. The part that ends in this event keeps its own, since readers are shown it.
        if part != key:
            draft.keep(part, replace(draft.node(part), output=None))
    complete(draft, node.name, gather(outputs) if step == 1 else Paged(tuple(outputs), state.total))


def _pass_succeeded(draft: Draft, node: Node, key: NodeKey, *, done: bool) -> None:
    state = draft.node(node.name)
    if done:
        complete(draft, node.name, draft.node(key).output or NOTHING)
        return
    # Only the last pass is needed, as the input of the next.
    draft.nodes.pop(pass_key(node.name, index_of(key) - 1), None)
    if state.next >= state.total:
        message = f"the loop {node.name} is not done after {state.next} passes: raise max_passes, or mend until"
        give_up(draft, node.name, Failure("execution_failed", message, node=node.name))
        return
    _next_pass(draft, node)


def _next_pass(draft: Draft, node: Node) -> None:
    state = draft.node(node.name)
    draft.keep(node.name, replace(state, next=state.next + 1))
    dispatch(draft, pass_key(node.name, state.next + 1))
