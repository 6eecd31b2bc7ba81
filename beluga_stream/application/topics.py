"""The engine's topics: names, what is co-partitioned, and how each is kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import TopicMismatch
from ..ports.log import TopicSpec
from .partitioner import partition_of

_DAY_MS = 86_400_000


def insync(replication: int) -> dict[str, str]:
    """How many replicas must have a record before it counts as written.

    By Kafka's default one is enough: a broker that dies would take with it what it alone has confirmed.
    """
    return {"min.insync.replicas": str(min(2, replication))}


def roomy() -> dict[str, str]:
    """How long a batch may be: as by Kafka's default, below which a broker's own may lie.

    The engine fills its batches: one that is refused ends the process that writes it, and comes again.
    """
    return {"max.message.bytes": "1048588"}


@dataclass(frozen=True)
class Topics:
    """Names under one prefix. `partitions` is the count that all run-keyed topics share."""

    prefix: str = "beluga"
    partitions: int = 4

    @cached_property
    def run_requests(self) -> str:
        return f"{self.prefix}.run-requests"

    @cached_property
    def run_events(self) -> str:
        return f"{self.prefix}.run-events"

    @cached_property
    def node_done(self) -> str:
        return f"{self.prefix}.node-done"

    @cached_property
    def run_results(self) -> str:
        return f"{self.prefix}.run-results"

    @cached_property
    def control(self) -> str:
        return f"{self.prefix}.control"

    @cached_property
    def graphs(self) -> str:
        return f"{self.prefix}.graphs"

    @cached_property
    def runs(self) -> str:
        return f"{self.prefix}.runs"

    @cached_property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    @cached_property
    def trigger_events(self) -> str:
        return f"{self.prefix}.trigger-events"

    @cached_property
    def bus(self) -> str:
        return f"{self.prefix}.bus"

    @cached_property
    def workflow_requests(self) -> str:
        return f"{self.prefix}.workflow-requests"

    def node_ready(self, queue: str) -> str:
        return f"{self.prefix}.node-ready.{queue}"

    def trigger(self, graph: str, name: str) -> str:
        """The name of a graph's trigger among those of all engines: an event that is for this one alone says it."""
        return f"{self.prefix}/{graph}/{name}"

    def place(self, key: str) -> tuple[bytes, int]:
        """A record key, encoded, and its partition of every run-keyed topic."""
        encoded = key.encode()
        return encoded, partition_of(encoded, self.partitions)

    def check_assigned(self, numbers: Iterable[int], topics: Sequence[str]) -> None:
        """Raises `TopicMismatch` when whoever consumes these topics is given a partition that the engine does not have.

        So it is when a topic has got more of them since the start.
        """
        highest = max(numbers, default=0)
        if highest >= self.partitions:
            raise TopicMismatch(
                f"one of {', '.join(topics)} has got a partition {highest}: somebody has added partitions to it. Every "
                f"topic of this engine has BELUGA_PARTITIONS={self.partitions}, by which records find their run: "
                f"begin another engine with more of them, under another BELUGA_PREFIX; docs/operating.md says how",
                partition=highest,
                declared=self.partitions,
            )

    def specs(
        self,
        queues: Sequence[str],
        *,
        replication: int = 1,
        retention_ms: int = 7 * _DAY_MS,
        runs_retention_ms: int | None = None,
    ) -> list[TopicSpec]:
        """How every topic of the engine must look. Summaries of runs are kept for ever unless they have a retention."""
        safe = insync(replication) | roomy()
        kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms), **safe}
        compacted = {"cleanup.policy": "compact", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1", **safe}
        summaries = compacted
        if runs_retention_ms is not None:
            summaries = {**compacted, "cleanup.policy": "compact,delete", "retention.ms": str(runs_retention_ms)}
        keyed = [self.run_requests, self.run_events, self.node_done, self.run_results, self.trigger_events]
        keyed.append(self.workflow_requests)
        keyed += [self.node_ready(queue) for queue in queues]
        return [
            *(TopicSpec(name, self.partitions, kept, replication) for name in keyed),
            TopicSpec(self.runs, self.partitions, summaries, replication),
            TopicSpec(self.graphs, 1, compacted, replication),
            TopicSpec(self.control, 1, kept, replication),
            TopicSpec(self.dead_letters, self.partitions, kept, replication),
            TopicSpec(self.bus, self.partitions, kept, replication),
        ]
