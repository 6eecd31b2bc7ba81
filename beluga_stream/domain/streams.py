"""Streaming edges: a node begins while another's chunks come, and begins again when those turn out void.

At a producer's first chunk its stream is *open*: the edges that read it count as taken, though the producer has not
ended. When the execution that writes it is given up, the stream is *closed*: those edges are unresolved again, and
whoever has begun to read is *recalled*, which is to say fenced and pending as before. It begins again with the next
stream, or is skipped when none comes. This costs it no retry: the fault was not its own.

A producer that resumes leaves its stream open between its attempts: the next one goes on with it, and those who
read it wait.

What a reader ends with counts only as long as it was not recalled. So no output is made of two incarnations, and
none of one that lost: `overtaken` closes what a late winner did not write.
"""

from .definition import NodeKind
from .draft import Draft
from .ending import cancel_nodes
from .events import NodeStreaming, NodeSucceeded
from .flow import count, executions, resolve_open
from .frozen import replace
from .ids import NodeKey, NodeName, node_of
from .state import NODE_ENDED, NodeState, NodeStatus, StreamPosition

_AT_WORKERS = frozenset({NodeStatus.READY, NodeStatus.RUNNING})


def streaming(draft: Draft, key: NodeKey, event: NodeStreaming) -> None:
    """The first chunk of an execution: a stream begins, or goes on, or begins anew."""
    before = draft.node(key)
    goes_on = before.stream is not None and event.resumed is not None
    if before.stream is not None and goes_on:
        stream = replace(before.stream, incarnation=event.incarnation)
    else:
        close(draft, key)
        stream = StreamPosition(event.incarnation, event.partition, event.offset)
    holder = event.incarnation if before.worker is None else before.incarnation
    draft.move(key, NodeStatus.RUNNING, incarnation=holder, stream=stream)
    if not goes_on and draft.plan.readers.get(node_of(key)) and draft.before.page is None:
        draft.keep(key, replace(draft.node(key), stream=replace(stream, counter=draft.counter)))
        resolve_open(draft, NodeName(key))


def interrupt(draft: Draft, key: NodeKey, *, resumes: bool) -> None:
    """The execution that writes the stream is given up; another may go on with it when the node `resumes`."""
    if not (resumes and draft.plan.nodes[node_of(key)].resume):
        close(draft, key)


def overtaken(draft: Draft, key: NodeKey, event: NodeSucceeded) -> None:
    """The node has succeeded: close its stream if that is not the one of the execution that won."""
    node = draft.node(key)
    stream = node.stream
    if stream is None or stream.incarnation == event.incarnation:
        return
    if event.resumed is None:
        close(draft, key)
    else:  # it went on after what others had written, and added nothing
        draft.keep(key, replace(node, stream=replace(stream, incarnation=event.resumed)))


def misled(draft: Draft, key: NodeKey) -> None:
    """What the execution has read is void, and so is what it has told and streamed."""
    close(draft, key)
    draft.keep(key, replace(draft.node(key), details=None))


def close(draft: Draft, key: NodeKey) -> None:
    """The stream is void: whoever reads it begins again, with another."""
    node = draft.node(key)
    if node.stream is None:
        return
    draft.keep(key, replace(node, stream=None))
    if node.stream.counter == 0:
        return
    for way in draft.plan.readers[NodeName(key)]:
        target = draft.node(way.edge.target)
        if target.status in NODE_ENDED:
            continue
        if target.status is not NodeStatus.PENDING:
            target = _recall(draft, way.edge.target)
        unresolved, taken = count(draft, way.edge.target)
        draft.keep(way.edge.target, replace(target, open=unresolved, total=taken))


def _recall(draft: Draft, name: NodeName) -> NodeState:
    """Fence the attempt of a reader, and put it back to where it waits for its edges."""
    interrupt(draft, name, resumes=False)
    node = draft.node(name)
    if draft.plan.nodes[name].kind is NodeKind.MAP:
        _drop_pages(draft, name)
        node = replace(node, next=0, fed=0)
        draft.keep(name, node)
    if node.status in _AT_WORKERS:
        draft.fence(name)
    if node.status is NodeStatus.LIMITED:
        draft.keep(name, draft.give_back(name, node))
    # A pause after a failure of its own is cut short, and that failure counts.
    tries = node.tries + (node.status is NodeStatus.BACKOFF)
    return draft.move(name, NodeStatus.PENDING, tries=tries, incarnation=None, worker=None, stream=None, details=None)


def _drop_pages(draft: Draft, name: NodeName) -> None:
    """Stop what a map does with the chunks, and forget what it has of them."""
    pages = executions(draft, name)
    cancel_nodes(draft, pages)
    for key in pages:
        draft.keep(key, replace(draft.node(key), output=None))
