"""What must hold of every simulated engine once its runs have ended, read from its log and its tables."""

from collections import defaultdict
from collections.abc import Mapping

from ..application import codec, limits
from ..application.messages import ChunkEmitted, Progress
from ..application.results import Chunk, Event, NodeChanged, RunChanged, RunReader, Superseded
from ..domain.events import DispatchLost, RunStalled
from ..domain.ids import RunId
from ..domain.payload import Json
from ..domain.state import NODE_ENDED, RUN_ENDED, RunStatus
from .cluster import Cluster
from .slots import wrong_with_slots


class Broken(AssertionError):
    """An invariant does not hold."""


async def check(cluster: Cluster, *, retried: bool = False, lossy: bool = False) -> None:
    """Raise `Broken` for the first thing that does not hold.

    `retried` runs may end more than once; a `lossy` log has lost work that had to be dispatched again.
    """
    if cluster.defects:
        raise Broken(f"a process ended by a defect: {cluster.defects[0]!r}") from cluster.defects[0]
    by_run = _results(cluster)
    for run, records in by_run.items():
        _check_counters(run, [record for record in records if isinstance(record, Progress)], retried=retried)
    _check_dead_letters(cluster)
    if not lossy:
        _check_repairs(cluster)
    _check_states(cluster)
    for wrong in wrong_with_slots(cluster):
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


def _results(cluster: Cluster) -> dict[RunId, list[Progress | ChunkEmitted]]:
    topic = cluster.topics.run_results
    found: dict[RunId, list[Progress | ChunkEmitted]] = defaultdict(list)
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(topic, partition, most=1 << 30):
            decoded = codec.results.decode(record.value)
            if isinstance(decoded, Progress | ChunkEmitted):
                found[decoded.run].append(decoded)
    return found


def _check_counters(run: RunId, records: list[Progress], *, retried: bool) -> None:
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
    if missing:
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
    """Nothing was lost, however late it was, and no run waited for nothing: so there was nothing to repair."""
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(cluster.topics.run_events, partition, most=1 << 30):
            event = codec.incoming.decode(record.value)
            if isinstance(event, DispatchLost | RunStalled):
                raise Broken(f"a needless repair: {event}")


def _check_states(cluster: Cluster) -> None:
    """Finished runs leave a marker with their result, and nothing that grows with the graph."""
    for changelog in cluster.changelogs.values():
        for key, value in changelog.rows.items():
            if key.startswith(limits.PREFIX):
                raise Broken(f"a slot is held, waited for or kept in mind: {key} {value!r}")
            if key.startswith("~"):
                continue  # no run's row
            state = codec.kept.decode(value).state
            if not state.ended:
                raise Broken(f"{key} goes on in the table: {state.status}")
            if state.status is not RunStatus.FAILED and (state.input is not None or state.signals):
                raise Broken(f"{key} has ended and keeps its input")
    for member in cluster.roles["coordinator"].members:
        for owned in getattr(member.role, "owned", {}).values():
            if owned.leases:
                raise Broken(f"leases without runs: {owned.leases}")
            if owned.limits.all:
                raise Broken(f"{len(owned.limits.all)} limits are kept in mind")
            if owned.runs or owned.of_graph.total():
                raise Broken(f"{len(owned.runs)} runs count as active and none is")
