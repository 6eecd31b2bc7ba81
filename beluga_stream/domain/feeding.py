"""Maps over a stream that is still written: items begin as its chunks come.

How long it will be nobody knows, so that such a map has pages from the first item on, as a large list has. A page run
reads its slice of the stream itself: what *feeds* it is an execution without a handler, which waits for chunks, takes
all that are there as far as the page goes, and ends with them. Then the next one reads on from there. So no run holds
more than the chunks of one page, and nothing is read before a page has begun for it.

A page that gets less than it is long has met the end of the stream. Pages that begin after the writer has ended take
their slice of its output, as those of a list do.

The stream may prove void in the midst. Then the map is recalled like every reader (see `streams`): its pages are
cancelled, and those of the next stream have other keys.
"""

from .definition import EdgeMode, Node
from .draft import Draft
from .events import Failure, Page
from .execution import complete, dispatch, give_up, start_child
from .flow import reads
from .frozen import replace
from .ids import INPUT, NodeKey, bounds_of, feed_key, is_feed, stream_page_key
from .items import PAGE, end_if_done, open_items, taken_from
from .payload import Paged, gather, length_of
from .state import NodeStatus

_UNKNOWN = -1


def reads_live(draft: Draft, node: Node) -> bool:
    """Whether the map goes over a stream that is open now."""
    return any(reads(draft, way) for way in draft.plan.into[node.name])


def begin_over_stream(draft: Draft, node: Node) -> None:
    """Begin the first pages."""
    attempt = draft.node(node.name).attempt + 1
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, next=0, total=_UNKNOWN, open=0, fed=attempt, came=0)
    _open_pages(draft, node)


def begin_fed_page(draft: Draft, node: Node, page: Page) -> None:
    """Read the chunks that this page run is there for."""
    draft.move(
        node.name,
        NodeStatus.WAITING,
        attempt=1,
        next=page.start,
        total=page.stop,
        open=0,
        fed=1,
        came=page.start,
    )
    dispatch(draft, feed_key(node.name, page.start))


def chunks_came(draft: Draft, node: Node, key: NodeKey, *, over: bool) -> None:
    """Chunks of the stream have been read for this page: begin their items, and read on."""
    state = draft.node(node.name)
    length = length_of(draft.node(key).output or gather([]))
    if length is None or state.came + length > state.total or (length == 0 and not over):
        message = f"{key} gave no chunks for the map {node.name} to go over: are all workers of one version?"
        give_up(draft, node.name, Failure("invalid_state", message, node=key))
        return
    came = state.came + length
    draft.keep(node.name, replace(state, came=came, total=came if over else state.total))
    open_items(draft, node)
    if came < draft.node(node.name).total:
        dispatch(draft, feed_key(node.name, came))
    end_if_done(draft, node, key)


def pages_of(draft: Draft, node: Node) -> list[NodeKey]:
    """The pages of the stream that have begun."""
    state = draft.node(node.name)
    return [stream_page_key(node.name, at, at + PAGE, state.fed) for at in range(0, state.next, PAGE)]


def feeds_of(draft: Draft, node: Node) -> list[NodeKey]:
    """What has read, or reads, for this page."""
    return [key for key in draft.nodes if is_feed(key) and key.startswith(f"{node.name}~")]


def page_succeeded(draft: Draft, node: Node, key: NodeKey) -> None:
    """A page of the stream has its output: begin the next, or end the map."""
    state = draft.node(node.name)
    total = state.total
    length = length_of(draft.node(key).output or gather([]))
    if total == _UNKNOWN and length is not None and length < PAGE:
        total = bounds_of(key)[0] + length
    draft.keep(node.name, replace(state, open=state.open - 1, total=total))
    _open_pages(draft, node)
    state = draft.node(node.name)
    if state.open > 0:
        return
    pages = pages_of(draft, node)
    # Those behind the end of the stream got nothing, and one page is the whole list.
    outputs = taken_from(draft, pages, key)[: max(1, -(-state.total // PAGE))]
    complete(draft, node.name, Paged(tuple(outputs), state.total) if len(outputs) > 1 else outputs[0])


def _open_pages(draft: Draft, node: Node) -> None:
    state = draft.node(node.name)
    total = state.total if state.total != _UNKNOWN else _written(draft, node)
    most = max(1, node.max_parallel // PAGE)
    upto, opened = state.next, state.open
    while opened < most and (total == _UNKNOWN or upto < total):
        start_child(draft, stream_page_key(node.name, upto, upto + PAGE, state.fed))
        upto += PAGE
        opened += 1
    draft.keep(node.name, replace(state, next=upto, open=opened, total=total))


def _written(draft: Draft, node: Node) -> int:
    """The stream's length, once its writer has ended."""
    for edge in draft.plan.incoming[node.name]:
        if edge.mode is EdgeMode.STREAM and edge.source != INPUT:
            source = draft.node(edge.source)
            length = length_of(source.output or gather([])) if source.status is NodeStatus.SUCCEEDED else None
            return _UNKNOWN if length is None else length
    return _UNKNOWN
