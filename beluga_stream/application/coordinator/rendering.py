"""Commands as records: what the reducer decided, with the values from the run's state, ready to append."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...domain.commands import (
    AskSlot,
    BroadcastCancel,
    CancelChild,
    Command,
    DispatchNode,
    NotifyParent,
    OverrideChild,
    PublishNode,
    PublishRun,
    RejectRun,
    RetryChild,
    ReturnSlot,
    SignalChild,
    StartChild,
)
from ...domain.crashes import runs_apart
from ...domain.events import NodeOverridden, SlotReturned, SlotWanted
from ...domain.ids import NodeKey, NodeName, index_of, is_feed, is_undo, node_of
from ...domain.limit import limit_of, value_of
from ...domain.plan import Plan
from ...domain.state import NodeStatus, RunState, RunStatus
from ...ports.log import Headers, Outgoing
from ...ports.spans import NO_SPANS, Spans
from .. import codec, tracing
from ..messages import (
    CancelNotice,
    Feed,
    NodeChange,
    NodeReady,
    Rejected,
    RunChange,
    Summary,
    WorkflowEvent,
)
from ..topics import Topics
from .arguments import arguments_of, source_of, undo_arguments
from .carried import NO_TRACE, Carried, Carrying
from .children import ChildCommand, child_finished, for_child
from .progress import Telling

_AT_WORKERS = frozenset({NodeStatus.READY, NodeStatus.RUNNING})


class Step(NamedTuple):
    """What one event led to: the run after it, and what is to be done."""

    state: RunState
    commands: Sequence[Command]


class _Envelope(NamedTuple):
    """What all records of one run have in common."""

    key: bytes
    partition: int
    headers: Headers

    def around(self, topic: str, value: bytes) -> Outgoing:
        return Outgoing(topic, self.key, value, self.headers, self.partition)


class Renderer:
    """Renders the commands of one run, each from the state that it was decided in.

    `remembers_ms` is how long its owner keeps a run that has ended; None for one who does not tell.
    """

    def __init__(self, topics: Topics, spans: Spans = NO_SPANS, *, remembers_ms: int | None = None) -> None:
        self._topics = topics
        self._carrying = Carrying(spans)
        self._remembers_ms = remembers_ms

    def render(self, plan: Plan | None, steps: Sequence[Step], at_ms: int, partition: int) -> list[Outgoing]:
        """The records of some steps of a run, what readers see first. `partition` is the run's.

        There is none for a dispatch whose attempt is over by the end of the last step, nor for a child or a slot that
        nobody waits for any more. It may be so when an intent is repeated, whose values may be forgotten by then, and
        when a node was reported together with the one before it.
        """
        last = steps[-1].state
        carried = self._carrying.of(last)
        envelope = _Envelope(last.key.encode(), partition, carried.headers)
        telling = Telling(last, at_ms)
        records: list[Outgoing] = []
        for state, commands in steps:
            for command in commands:
                match command:
                    case PublishNode():
                        telling.node(_node_change(plan, state, command))
                    case PublishRun(status, counter):
                        telling.run(_run_change(state, status, counter))
                    case DispatchNode():
                        if plan is not None and _is_at_workers(last, command):
                            work = node_ready(plan, state, command, at_ms, carried)
                            topic = self._topics.node_ready(plan.nodes[work.name].queue)
                            # Without the trace as a header: the work has it, and would carry it twice.
                            records.append(Outgoing(topic, envelope.key, codec.node_ready.encode(work), (), partition))
                    case StartChild() | SignalChild() | OverrideChild() | RetryChild() | CancelChild():
                        event = for_child(plan, command, state, last, at_ms, carried.trace)
                        if event is not None:
                            records.append(self._to_child(plan, command, event, carried.headers))
                    case AskSlot():
                        if plan is not None and _is_asking(last, command):
                            wanted = slot_wanted(plan, state, command, at_ms)
                            records.append(self._event(wanted.key, codec.incoming.encode(wanted), carried.headers))
                    case _:
                        records.extend(self._record(state, command, at_ms, envelope))
        told = telling.told()
        if any(progress.status is not None for progress in told) and last.key == last.run:
            # Pages and durable children are no runs of their own in lists, and share their parent's key.
            records.append(envelope.around(self._topics.runs, codec.summaries.encode(self._summary(last))))
        results = self._topics.run_results
        return [*(envelope.around(results, codec.results.encode(progress)) for progress in told), *records]

    def _record(self, state: RunState, command: Command, at_ms: int, envelope: _Envelope) -> Iterator[Outgoing]:
        """The record of a command that is neither a status, nor begins something, nor is for a child."""
        match command:
            case ReturnSlot(limit, node, number):
                returned = SlotReturned(key=limit, at_ms=at_ms, run=state.run, node=node, number=number)
                yield self._event(limit, codec.incoming.encode(returned), envelope.headers)
            case BroadcastCancel(generation, attempts):
                notice = CancelNotice(run=state.run, generation=generation, attempts=attempts)
                yield Outgoing(self._topics.control, None, codec.control.encode(notice), partition=0)
            case RejectRun(code, message, refused):
                rejected = Rejected(
                    run=state.run,
                    graph=state.graph,
                    at_ms=at_ms,
                    code=code,
                    message=message,
                    digest=refused,
                )
                yield envelope.around(self._topics.run_results, codec.results.encode(rejected))
            case NotifyParent():
                # A repeated intent may find the run going on again: its parent hears of the next end.
                if state.parent is not None and state.ended:
                    told = child_finished(state, state.parent, at_ms)
                    yield self._event(told.key, codec.incoming.encode(told), envelope.headers)

    def _to_child(
        self, plan: Plan | None, command: ChildCommand, event: WorkflowEvent | NodeOverridden, headers: Headers
    ) -> Outgoing:
        """Whoever owns the child hears of it: the coordinator, or for a durable one who hosts workflows."""
        sent = self._event(event.key, codec.incoming.encode(event), headers)
        is_durable = plan is not None and plan.starts_durable(command.node)
        return sent._replace(topic=self._topics.workflow_requests) if is_durable else sent

    def _event(self, key: str, value: bytes, headers: Headers) -> Outgoing:
        encoded, partition = self._topics.place(key)
        return Outgoing(self._topics.run_events, encoded, value, headers, partition)

    def _summary(self, state: RunState) -> Summary:
        return Summary(
            run=state.run,
            graph=state.graph,
            definition=state.definition,
            status=state.status,
            trigger=state.trigger,
            started_ms=state.started_ms,
            ended_ms=state.ended_ms,
            tags=state.tags,
            trace=state.trace,
            parent=None if state.parent is None else state.parent.run,
            output=state.output,
            failure=state.failure,
            forked_from=None if state.fork is None else state.fork.of,
            retry_until_ms=self._retry_until_ms(state),
            request=state.request,
        )

    def _retry_until_ms(self, state: RunState) -> int | None:
        if state.status is not RunStatus.FAILED or state.ended_ms is None:
            return None
        if state.compensated:
            return state.ended_ms
        return None if self._remembers_ms is None else state.ended_ms + self._remembers_ms


def node_ready(
    plan: Plan, state: RunState, command: DispatchNode, at_ms: int, carried: Carried = NO_TRACE
) -> NodeReady:
    """The work that a dispatch means."""
    node = state.nodes[command.node]
    name = node_of(command.node)
    undo = is_undo(command.node)
    resume = plan.nodes[name].resume and not node.fallback and not undo
    feed = _feed(state, command.node) if is_feed(command.node) else None
    return NodeReady(
        run=state.run,
        key=state.key,
        root=state.parent.run if state.page is not None and state.parent is not None else state.run,
        graph=state.graph,
        definition=plan.hash,
        node=command.node,
        name=name,
        attempt=command.attempt,
        arguments=undo_arguments(plan, state, command.node) if undo else arguments_of(plan, state, command.node),
        generation=state.generation,
        timeout_ms=None if feed is not None else _timeout_ms(plan, state, name),
        at_ms=at_ms,
        role="compensate" if undo else "fallback" if node.fallback else "handler",
        details=node.details,
        losses=node.losses,
        apart=feed is None and runs_apart(plan.nodes[name], node.losses),
        trace=carried.trace,
        resume=resume,
        emitted=source_of(plan, name, node) if resume else None,
        links=tracing.came_from(plan, state, command.node, name) if carried.linked and name in plan.joined else (),
        feed=feed,
        shape=plan.shape(name),
    )


def _is_at_workers(state: RunState, command: DispatchNode) -> bool:
    node = state.nodes.get(command.node)
    return node is not None and node.attempt == command.attempt and node.status in _AT_WORKERS


def _is_asking(state: RunState, command: AskSlot) -> bool:
    place = state if command.node is None else state.nodes.get(command.node)
    return place is not None and (place.slot, place.limit) == (command.number, command.limit)


def slot_wanted(plan: Plan, state: RunState, command: AskSlot, at_ms: int) -> SlotWanted:
    """The request for a slot, with all that its limit has to know."""
    limits = plan.definition.limits if command.node is None else plan.nodes[node_of(command.node)].limits
    limit = limit_of(limits, state.keys, command.limit)
    return SlotWanted(
        key=command.limit,
        at_ms=at_ms,
        run=state.run,
        node=command.node,
        number=command.number,
        reply=state.key,
        limit=limit,
        value=value_of(limit, state.keys),
    )


def _timeout_ms(plan: Plan, state: RunState, name: NodeName) -> int | None:
    override = state.overrides.get(name)
    declared = plan.nodes[name].timeout_ms
    return declared if override is None else override.timeout_ms or declared


def _feed(state: RunState, key: NodeKey) -> Feed:
    assert state.page is not None, "only pages of a map are fed"
    start = index_of(key)
    return Feed(start, state.page.stop - start)


def _run_change(state: RunState, status: str, counter: int) -> RunChange:
    asked = state.digest if state.parent is None else ""
    return RunChange(status, counter, state.output, state.failure, asked or None)


def _node_change(plan: Plan | None, state: RunState, command: PublishNode) -> NodeChange:
    node = state.nodes.get(command.node)
    has_succeeded = command.status == NodeStatus.SUCCEEDED
    if node is None:
        return NodeChange(command.node, command.status, command.counter, command.attempt)
    return NodeChange(
        command.node,
        command.status,
        command.counter,
        command.attempt,
        incarnation=node.incarnation,
        chunks=node.chunks,
        output=node.output if has_succeeded else None,
        failure=node.failure,
        due_ms=node.due_ms,
        stream=node.stream.incarnation if has_succeeded and node.stream is not None else None,
        branches=node.branches if has_succeeded and plan is not None and command.node in plan.choosers else None,
    )
