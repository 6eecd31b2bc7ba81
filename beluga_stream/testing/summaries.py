"""What `beluga.runs` says in the end: that each run ended as its own stream of results tells."""

from collections.abc import Iterator

from ..application import codec
from ..application.messages import Progress
from ..domain.ids import RunId
from .cluster import Cluster


def wrong_with_summaries(cluster: Cluster) -> Iterator[str]:
    """The runs whose newest summary, the one that a compacted topic keeps, is not their last status."""
    for partition in range(cluster.topics.partitions):
        last: dict[RunId, tuple[int, str]] = {}
        for record in cluster.log.records(cluster.topics.run_results, partition, most=1 << 30):
            told = codec.results.decode(record.value)
            if isinstance(told, Progress) and told.status is not None:
                last[told.run] = max(last.get(told.run, (0, "")), (told.status.counter, told.status.status))
        summaries = cluster.log.records(cluster.topics.runs, partition, most=1 << 30)
        newest = {said.run: said.status for said in (codec.summaries.decode(record.value) for record in summaries)}
        for run, status in newest.items():
            if status != last[run][1]:
                yield f"{run} is {last[run][1]}, and stays {status} in {cluster.topics.runs}"
