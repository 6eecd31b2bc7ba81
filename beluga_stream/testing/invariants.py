"""What must hold of every simulated engine once its runs have ended, read from its log and its tables."""

from collections import defaultdict
from collections.abc import Mapping

from ..application import codec
from ..application.clients.results import Chunk, Event, NodeChanged, RunChanged, RunReader, Superseded
from ..application.messages import ChunkEmitted, NodeChange, Progress
from ..domain.events import DispatchLost, RunStalled
from ..domain.ids import RunId
from ..domain.payload import Json
from ..domain.state import NODE_ENDED, RUN_ENDED, NodeStatus
from .cluster import Cluster
from .slots import run_events, wrong_with_slots
from .summaries import wrong_with_summaries
from .tables import left_over
from .workflows import Durable


class Broken(AssertionError):
    """An invariant does not hold."""


async def check(
    cluster: Cluster, *, retried: bool = False, refused: bool = False, overgrown: bool = False, lossy: bool = False
) -> None:
    """Raise `Broken` for the first thing that does not hold.

    `retried` runs may end more than once; what is `refused` may become dead letters; of what an `overgrown` run
    decided last nothing is told but that it failed; a `lossy` log has lost work that had to be dispatched again.
    """
    if cluster.defects:
        raise Broken(f"a process ended by a defect: {cluster.defects[0]!r}") from cluster.defects[0]
    for broken in (*cluster.witness.broken(), *cluster.watch.broken):
        raise Broken(broken)
    by_run = _results(cluster)
    for run in _terminated(cluster):
        by_run.pop(run, None)  # nothing tells its end
    for run, records in by_run.items():
        _check_counters(
            run, [record for record in records if isinstance(record, Progress)], retried=retried, gaps=overgrown
        )
    if not refused:
        _check_dead_letters(cluster)
    if not lossy:
        _check_repairs(cluster)
    for run, durable in _durable(cluster).items():
        if durable.stands == "running":
            raise Broken(f"the durable run {run} goes on, and the run that started it has ended")
    for wrong in (
        *left_over(cluster.changelogs, cluster.roles["coordinator"], cluster.roles["worker"]),
        *wrong_with_slots(cluster),
        *wrong_with_summaries(cluster),
    ):
        raise Broken(wrong)


def chunks_of(events: list[Event]) -> Mapping[str, list[Json]]:
    """What a reader has of each streaming node in the end, without what was superseded."""
    found: dict[str, list[Json]] = defaultdict(list)
    for event in events:
        if isinstance(event, Superseded):
            found[event.node] = []
        elif isinstance(event, Chunk):
            if event.seq != len(found[event.node]):
                raise Broken(f"{event.node} has chunk {event.seq} after {len(found[event.node])}")
            found[event.node].append(event.value)
    return found


def terminal(events: list[Event]) -> list[RunChanged]:
    """The ends of a run that a reader has seen."""
    return [event for event in events if isinstance(event, RunChanged) and event.ended]


def _durable(cluster: Cluster) -> Mapping[RunId, Durable]:
    return {} if cluster.workflows is None else cluster.workflows.runs


def _terminated(cluster: Cluster) -> list[RunId]:
    return [run for run, durable in _durable(cluster).items() if durable.stands == "terminated"]


def _results(cluster: Cluster) -> dict[RunId, list[Progress | ChunkEmitted]]:
    topic = cluster.topics.run_results
    found: dict[RunId, list[Progress | ChunkEmitted]] = defaultdict(list)
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(topic, partition, most=1 << 30):
            decoded = codec.results.decode(record.value)
            if isinstance(decoded, Progress | ChunkEmitted):
                found[decoded.run].append(decoded)
    return found


def _check_counters(run: RunId, records: list[Progress], *, retried: bool, gaps: bool) -> None:
    """Every status once, without gaps, in order; one end of the run, and nothing after it."""
    said: dict[int, tuple[str, str, int]] = {}
    reader = RunReader()
    events: list[Event] = []
    for record in records:
        for change in record.nodes:
            told = (str(change.node), change.status, change.attempt)
            if said.setdefault(change.counter, told) != told:
                raise Broken(f"{run}: counter {change.counter} is {told} and {said[change.counter]}")
        if record.status is not None:
            told = ("", record.status.status, 0)
            if said.setdefault(record.status.counter, told) != told:
                raise Broken(f"{run}: counter {record.status.counter} is {told} and another")
        events.extend(reader.read(record, ""))
    missing = set(range(1, max(said, default=0) + 1)) - said.keys()
    if missing and not gaps:
        raise Broken(f"{run}: the statuses {sorted(missing)} of {len(said)} were never told")
    ends = [counter for counter, (node, status, _) in said.items() if node == "" and status in RUN_ENDED]
    if not ends or max(said) != max(ends):
        raise Broken(f"{run}: did not end: {sorted(said.items())[-3:]}")
    if len(ends) > 1 and not retried:
        raise Broken(f"{run}: ended {len(ends)} times")
    shown = [event for event in events if isinstance(event, NodeChanged | RunChanged)]
    if len(shown) != len(said):
        raise Broken(f"{run}: a reader sees {len(shown)} of {len(said)} statuses")
    if not retried:
        _check_node_ends(run, events)


def _check_node_ends(run: RunId, events: list[Event]) -> None:
    ended: dict[str, str] = {}
    for event in events:
        if isinstance(event, NodeChanged):
            if event.node in ended:
                raise Broken(f"{run}/{event.node} is {event.status} after it was {ended[event.node]}")
            if event.status in NODE_ENDED:
                ended[event.node] = event.status


def _check_dead_letters(cluster: Cluster) -> None:
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(cluster.topics.dead_letters, partition):
            headers = {name: value.decode() for name, value in record.headers}
            raise Broken(f"a dead letter: {headers}")


def _check_repairs(cluster: Cluster) -> None:
    """Nothing was lost, however late it was, and no run waited for nothing: so there was nothing to repair.

    An owner that was paused and wakes may think so, of what others have gone on with: that changes nothing. Work that
    a worker puts back lies behind where the watchdog looks for it, and may be taken for lost.
    """
    for at_ms, event in run_events(cluster):
        if isinstance(event, DispatchLost) and (_is_over(cluster, at_ms, event) or _was_put_back(cluster, event)):
            continue
        if isinstance(event, DispatchLost | RunStalled):
            raise Broken(f"a needless repair: {event}")


def _was_put_back(cluster: Cluster, event: DispatchLost) -> bool:
    _, partition = cluster.topics.place(event.key)
    for topic in map(cluster.topics.node_ready, cluster.options.queues):
        for record in cluster.log.records(topic, partition, most=1 << 30):
            work = codec.node_ready.decode(record.value)
            same = (work.run, work.node, work.attempt) == (event.run, event.node, event.attempt)
            if same and cluster.story.author(record.position).startswith("worker"):
                return True
    return False


def _is_over(cluster: Cluster, at_ms: int, event: DispatchLost) -> bool:
    """Whether readers were told, before it was said to be lost, that the attempt waits for no worker any more."""
    told: NodeChange | None = None
    _, partition = cluster.topics.place(event.key)
    for result in cluster.log.records(cluster.topics.run_results, partition, most=1 << 30):
        if result.timestamp_ms > at_ms:
            break
        decoded = codec.results.decode(result.value)
        if isinstance(decoded, Progress) and decoded.run == event.run:
            changes = [change for change in decoded.nodes if change.node == event.node]
            told = max([*changes, *([] if told is None else [told])], key=lambda change: change.counter, default=None)
    if told is None:
        return False
    return told.attempt != event.attempt or told.status != NodeStatus.READY
