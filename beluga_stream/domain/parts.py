"""Nodes that run in parts: the items of a map, the pages of a large one, the passes of a loop.

A pass of a loop over a graph is a run of that graph, and then an execution that hands its output on: the worker that
does this asks `until`, which is a user's code.
"""

from .definition import Node, NodeKind
from .draft import Draft
from .events import Failure, Page
from .execution import child_again, complete, dispatch, give_up, start_child
from .feeding import begin_fed_page, begin_over_stream, chunks_came, feeds_of, page_succeeded, pages_of, reads_live
from .flow import argument_of, executions, taken_edges
from .frozen import replace
from .ids import NodeKey, index_of, is_feed, is_page, pass_key
from .items import end_if_done, item_succeeded, items_of, open_items
from .payload import NOTHING, Payload, gather, length_of, seals_of
from .state import NodeState, NodeStatus


def begin_map(draft: Draft, node: Node) -> None:
    """Begin as many items as may run at once. Fails when the source gave no list."""
    if reads_live(draft, node):
        begin_over_stream(draft, node)
        return
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
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, next=0, total=total, open=0, fed=0)
    open_items(draft, node)


def begin_page(draft: Draft, node: Node, page: Page) -> None:
    """Begin the items that this page run is there for."""
    draft.active = 1
    if page.stream is not None:
        begin_fed_page(draft, node, page)
        return
    length = length_of(draft.before.input or NOTHING)
    # A page of a stream was begun before anybody knew whether there would be so many.
    stop = page.stop if length is None else max(page.start, min(page.stop, length))
    draft.move(node.name, NodeStatus.WAITING, attempt=1, next=page.start, total=stop, open=0)
    open_items(draft, node)
    end_if_done(draft, node, node.name)


def begin_loop(draft: Draft, node: Node) -> None:
    """Begin the first pass."""
    attempt = draft.node(node.name).attempt + 1
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, next=1, total=node.max_passes)
    _begin_pass(draft, node, 1)


def judge(draft: Draft, key: NodeKey, output: Payload) -> None:
    """The graph of a pass has its output: ask whether the loop is done."""
    draft.keep(key, replace(draft.node(key), output=output))
    dispatch(draft, key)


def is_judged(state: NodeState) -> bool:
    """Whether the graph of a pass has its output, and `until` is to be asked, or has been."""
    return state.output is not None


def part_succeeded(draft: Draft, node: Node, key: NodeKey, *, done: bool) -> None:
    """An item, page or pass has its output: open the next, or end the whole."""
    if node.kind is NodeKind.LOOP:
        _pass_succeeded(draft, node, key, done=done)
    elif is_feed(key):
        chunks_came(draft, node, key, over=done)
    elif is_page(key) and draft.node(node.name).fed:
        page_succeeded(draft, node, key)
    else:
        item_succeeded(draft, node, key)


def resume_parts(draft: Draft, node: Node) -> None:
    """For `retry`: begin the parts of a map or loop again that did not succeed."""
    parts = _begun(draft, node)
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
        opened = sum(not is_feed(key) for key in left)
        draft.move(node.name, NodeStatus.WAITING, attempt=attempt, failure=None, open=opened)
    for key in left:
        if _is_child(node, key) and not is_judged(draft.node(key)):
            child_again(draft, key)
        else:
            dispatch(draft, key)


def _begun(draft: Draft, node: Node) -> list[NodeKey]:
    """The parts that have begun; not those of a stream that proved void."""
    state = draft.node(node.name)
    if node.kind is NodeKind.LOOP:
        return executions(draft, node.name)
    if not state.fed:
        return items_of(draft, node, state.next)
    if draft.before.page is None:
        return pages_of(draft, node)
    return [*feeds_of(draft, node), *items_of(draft, node, state.next)]


def _is_child(node: Node, key: NodeKey) -> bool:
    return is_page(key) or (node.child is not None and not is_feed(key))


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
    _begin_pass(draft, node, state.next + 1)


def _begin_pass(draft: Draft, node: Node, number: int) -> None:
    begin = dispatch if node.child is None else start_child
    begin(draft, pass_key(node.name, number))
