"""Topics and consumer groups by the settings: what must exist before a role starts. Faust is not needed."""

from collections.abc import Iterable, Sequence

from ..application.topics import insync, roomy
from ..ports.log import TopicSpec
from .connection import topics
from .settings import Settings
from .topic_files import load_topics

_HOUR_MS = 3_600_000


def engine_topics(settings: Settings, queues: Sequence[str]) -> list[TopicSpec]:
    """Every topic that must exist before a role starts: the engine's and the deployment's."""
    return [*own_topics(settings, queues), *load_topics(settings)]


def own_topics(settings: Settings, queues: Sequence[str]) -> list[TopicSpec]:
    """The engine's topics."""
    names = topics(settings)
    kept, listed = settings.retention_hours, settings.runs_retention_hours
    own = names.specs(
        queues,
        replication=settings.replication,
        retention_ms=int(kept * _HOUR_MS),
        runs_retention_ms=None if listed is None else int(listed * _HOUR_MS),
    )
    changelogs = [
        TopicSpec(
            name,
            settings.partitions,
            {
                "cleanup.policy": "compact",
                "segment.bytes": str(16 * 1024 * 1024),
                "segment.ms": "600000",
                "min.cleanable.dirty.ratio": "0.1",
                "max.compaction.lag.ms": "600000",
                **insync(settings.replication),
                **roomy(),
            },
            settings.replication,
        )
        for name in (changelog_topic(settings), triggers_changelog(settings))
    ]
    return [*own, *changelogs]


def source_topics(settings: Settings, declared: Sequence[TopicSpec], sources: Iterable[str]) -> list[TopicSpec]:
    """Topics that trigger something and that no file declares: if nobody has created one, it gets the defaults."""
    known = {spec.name for spec in declared}
    return [TopicSpec(name, settings.partitions, {}, settings.replication) for name in sources if name not in known]


def group(settings: Settings, role: str) -> str:
    """The consumer group of a role."""
    return f"{settings.prefix}-{role}"


def changelog_topic(settings: Settings) -> str:
    """The changelog of the coordinators' table of runs."""
    return f"{group(settings, 'coordinator')}-runs-changelog"


def triggers_changelog(settings: Settings) -> str:
    """The changelog of the gatherers' table: the open windows and batches of triggers."""
    return f"{group(settings, 'gatherer')}-triggers-changelog"
