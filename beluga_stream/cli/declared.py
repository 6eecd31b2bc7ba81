"""Topics as they are declared and as they are on the broker."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..adapters.kafka.admin import KafkaTopics
from ..bootstrap import deployment
from ..bootstrap.conformity import COMPARED, alike, conformity
from ..bootstrap.connection import kafka
from ..bootstrap.declared import own_topics, source_topics
from ..bootstrap.preparation import uses_of
from ..bootstrap.settings import Settings
from ..bootstrap.topic_files import load_topics
from ..errors import InvalidDeployment
from ..ports.log import TopicSpec
from .aside import aside
from .screen import BAD, OK, WARN, console, print_json, table
from .values import settings_with

PATIENCE_SECONDS = 2.0


class Needed(NamedTuple):
    """The topics that must exist: the engine's own, and those of `topics/`.

    What triggers something and is `undeclared` may be as it likes.
    """

    own: Sequence[TopicSpec]
    declared: Sequence[TopicSpec]
    undeclared: Sequence[TopicSpec]

    def beside(self, found: Mapping[str, TopicSpec]) -> list[TopicSpec]:
        """All of them, where these were found."""
        return [*self.own, *self.declared, *(found.get(spec.name, spec) for spec in self.undeclared)]


async def topics_of(settings: Settings) -> Needed:
    """Every topic that must exist; without graphs here, the engine's are those of the default queue."""
    try:
        deployed = await aside(deployment.load_of, settings)
    except InvalidDeployment as error:
        if "agents" in error.ids and deployment.is_named(settings):
            raise
        # What is wrong with the graphs is for `beluga graph validate` to say; topics do not wait for it.
        deployed = None
    uses = uses_of(settings, deployed)
    own, declared = own_topics(settings, uses.queues), load_topics(settings)
    return Needed(own, declared, source_topics(settings, [*own, *declared], uses.sources))


async def _standing(settings: Settings, admin: KafkaTopics) -> tuple[list[TopicSpec], Mapping[str, TopicSpec]]:
    """The topics as they are declared, and those that exist as they are."""
    needed = await topics_of(settings)
    found = await admin.inspect([spec.name for spec in needed.beside({})], COMPARED)
    return needed.beside(found), found


def state_of(spec: TopicSpec, found: Mapping[str, TopicSpec]) -> str:
    """How a declared topic stands: ok, missing, or what it has otherwise than declared."""
    there = found.get(spec.name)
    if there is None:
        return "missing"
    if there.partitions != spec.partitions:
        return f"has {there.partitions} partitions"
    differs = conformity([spec], found).deviations
    return ", ".join(f"has {each.key}={each.has}, not {each.declared}" for each in differs) or "ok"


async def list_topics(*, folder: str | None, broker: str | None, as_json: bool) -> None:
    """Show all with their state."""
    settings = settings_with(broker=broker, topics=folder)
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        specs, found = await _standing(settings, admin)
    if as_json:
        print_json(
            [
                {
                    "topic": spec.name,
                    "partitions": spec.partitions,
                    "replication": spec.replication,
                    "config": dict(spec.config),
                    "state": state_of(spec, found),
                }
                for spec in specs
            ]
        )
        return
    shown = table("", "topic", ">partitions", "kept", "state")
    for spec in specs:
        state = state_of(spec, found)
        sign = OK if state == "ok" else BAD
        kept = spec.config.get("cleanup.policy", "delete")
        if kept == "delete":
            kept = _hours(spec.config.get("retention.ms", ""))
        shown.add_row(sign, spec.name, str(spec.partitions), kept, "" if state == "ok" else state)
    console.print(shown)
    if any(spec.name not in found for spec in specs):
        console.print("`beluga topics apply` creates what is missing", style="dim")
    if unchecked := [spec.name for spec in found.values() if not spec.config]:
        console.print(f"of {len(unchecked)}, how they are kept was not checked: Kafka does not tell us", style="dim")


async def apply_topics(*, folder: str | None, broker: str | None, as_json: bool) -> None:
    """Create what is missing. Raises `TopicMismatch` before anything is created."""
    settings = settings_with(broker=broker, topics=folder)
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        specs, found = await _standing(settings, admin)
        created = await admin.ensure(specs)
    if as_json:
        print_json({"created": list(created), "existing": len(specs) - len(created)})
        return
    for name in created:
        console.print(OK, f"created {name}")
    for kind in alike(conformity(specs, found).deviations):
        console.print(WARN, str(kind), soft_wrap=True)
    console.print(f"{len(specs) - len(created)} of {len(specs)} existed already", style="dim")


def _hours(retention_ms: str) -> str:
    if retention_ms == "-1":
        return "for ever"
    return f"{int(retention_ms) / 3_600_000:g} h" if retention_ms else ""
