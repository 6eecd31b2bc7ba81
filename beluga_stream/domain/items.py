"""The items of a map: which may begin, and when they are all done. Of a large one its pages take their place."""

from .definition import Node
from .draft import Draft
from .execution import complete, dispatch, start_child
from .frozen import replace
from .ids import NodeKey, item_key, page_key
from .payload import NOTHING, Paged, Payload, gather
from .state import NodeState

PAGE = 64
"""Maps above this many items are split into page runs of this many."""


def items_of(draft: Draft, node: Node, stop: int) -> list[NodeKey]:
    """The items or pages of a map over a list, or of a page, up to this item."""
    start = draft.before.page.start if draft.before.page is not None else 0
    total = draft.node(node.name).total
    step = _step_of(draft, total)
    if step == 1:
        return [item_key(node.name, at) for at in range(start, stop)]
    return [page_key(node.name, at, min(at + step, total)) for at in range(start, stop, step)]


def open_items(draft: Draft, node: Node) -> None:
    """Begin items or pages until `max_parallel` are under way, or those that have come of a stream are."""
    state = draft.node(node.name)
    step = _step_of(draft, state.total)
    most = node.max_parallel if step == 1 else max(1, node.max_parallel // PAGE)
    stop = state.came if state.fed else state.total
    upto, opened = state.next, state.open
    while upto < stop and opened < most:
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


def item_succeeded(draft: Draft, node: Node, key: NodeKey) -> None:
    """An item or page has its output: open the next, or end the whole."""
    state = draft.node(node.name)
    draft.keep(node.name, replace(state, open=state.open - 1))
    open_items(draft, node)
    end_if_done(draft, node, key)


def end_if_done(draft: Draft, node: Node, key: NodeKey) -> None:
    """End the map, or the page, if its last item has its output. `key` is what ended in this event."""
    state = draft.node(node.name)
    if state.open > 0 or state.next < state.total:
        return
    parts = items_of(draft, node, state.total)
    outputs = taken_from(draft, parts, key)
    complete(draft, node.name, _joined(draft, state, outputs))


def taken_from(draft: Draft, parts: list[NodeKey], key: NodeKey) -> list[Payload]:
    """The outputs of these, which the list of them has from now on.

    The part that ends in this event keeps its own, since readers are shown it.
    """
    outputs = [draft.node(part).output or NOTHING for part in parts]
    for part in parts:
        if part != key:
            draft.keep(part, replace(draft.node(part), output=None))
    return outputs


def _joined(draft: Draft, state: NodeState, outputs: list[Payload]) -> Payload:
    return gather(outputs) if _step_of(draft, state.total) == 1 else Paged(tuple(outputs), state.total)


def _step_of(draft: Draft, total: int) -> int:
    """1: single items; PAGE: pages of a large map (a page itself has single items)."""
    return 1 if draft.before.page is not None or total <= PAGE else PAGE
