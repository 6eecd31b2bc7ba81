"""Topics as they are declared and as they are on the broker."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..adapters.kafka.admin import KafkaTopics
from ..bootstrap import deployment
from ..bootstrap.connection import kafka
from ..bootstrap.declared import engine_topics, source_topics
from ..bootstrap.preparation import uses_of
from ..bootstrap.settings import Settings
from ..errors import InvalidDeployment, TopicMismatch
from ..ports.log import TopicSpec
from .screen import console, print_json, table
from .values import settings_with

PATIENCE_SECONDS = 2.0


class Needed(NamedTuple):
    """The topics that must exist. What triggers something and is `undeclared` may have any number of partitions."""

    declared: Sequence[TopicSpec]
    undeclared: Sequence[TopicSpec]

    def beside(self, found: Mapping[str, int]) -> list[TopicSpec]:
        """All of them, where so many partitions of each were found."""
        others = (replace(spec, partitions=found.get(spec.name, spec.partitions)) for spec in self.undeclared)
        return [*self.declared, *others]


def topics_of(settings: Settings) -> Needed:
    """Every topic that must exist; without graphs here, the engine's are those of the default queue."""
    try:
        deployed = deployment.load(settings.agents)
    except InvalidDeployment:
        # What is wrong with the graphs is for `beluga graph validate` to say; topics do not wait for it.
        deployed = None
    uses = uses_of(settings, deployed)
    declared = engine_topics(settings, uses.queues)
    return Needed(declared, source_topics(settings, declared, uses.sources))


async def _standing(settings: Settings, admin: KafkaTopics) -> tuple[list[TopicSpec], Mapping[str, int]]:
    """The topics, and how many partitions those that exist have."""
    needed = topics_of(settings)
    found = await admin.describe(spec.name for spec in needed.beside({}))
    return needed.beside(found), found


def state_of(spec: TopicSpec, found: Mapping[str, int]) -> str:
    """How a declared topic stands: ok, missing, or with which other count of partitions."""
    if spec.name not in found:
        return "missing"
    return "ok" if found[spec.name] == spec.partitions else f"has {found[spec.name]} partitions"


async def list_topics(*, folder: str | None, broker: str | None, as_json: bool) -> None:
    """Show all with their state."""
    settings = settings_with(broker=broker, topics=folder)
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        specs, found = await _standing(settings, admin)
    if as_json:
        print_json(
            [{"topic": spec.name, "partitions": spec.partitions, "state": state_of(spec, found)} for spec in specs]
        )
        return
    shown = table("", "topic", ">partitions", "kept", "state")
    for spec in specs:
        state = state_of(spec, found)
        sign = "[green]✓[/green]" if state == "ok" else "[red]✗[/red]"
        kept = spec.config.get("cleanup.policy", "delete")
        if kept == "delete":
            kept = f"{int(spec.config['retention.ms']) / 3_600_000:g} h" if "retention.ms" in spec.config else ""
        shown.add_row(sign, spec.name, str(spec.partitions), kept, "" if state == "ok" else state)
    console.print(shown)
    if any(spec.name not in found for spec in specs):
        console.print("[dim]`beluga topics apply` creates what is missing[/dim]")


async def apply_topics(*, folder: str | None, broker: str | None, as_json: bool) -> None:
    """Create what is missing. Raises `TopicMismatch` before anything is created."""
    settings = settings_with(broker=broker, topics=folder)
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        specs, found = await _standing(settings, admin)
        for spec in specs:
            if (state := state_of(spec, found)) not in ("ok", "missing"):
                raise TopicMismatch(f"topic {spec.name} {state}, but {spec.partitions} are declared", topic=spec.name)
        created = await admin.ensure(specs)
    if as_json:
        print_json({"created": list(created), "existing": len(specs) - len(created)})
        return
    for name in created:
        console.print(f"[green]✓[/green] created {name}")
    console.print(f"[dim]{len(specs) - len(created)} of {len(specs)} existed already[/dim]")
