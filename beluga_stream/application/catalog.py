"""The definitions in `beluga.graphs`: published by whoever deploys them, read by whoever runs them."""

import asyncio
import logging
from collections.abc import Iterable

from ..bounds import within
from ..domain.cover import WORKFLOW, cover, is_cover
from ..domain.definition import Definition
from ..domain.ids import GraphHash
from ..domain.limit import Limit
from ..domain.misspelt import meant
from ..domain.payload import Json
from ..domain.plan import Plan
from ..errors import InvalidConfig, InvalidInput, LogUnavailable
from ..ports.log import Appender, Outgoing, Reader, Record
from . import codec
from .schemas import Schema
from .topics import Topics

_TIMEOUT_SECONDS = 30.0

log = logging.getLogger(__name__)


class Catalog:
    """Every definition ever deployed, by hash, and the latest of each name.

    Of a durable graph that is its cover: what a run of it is a run of.
    """

    def __init__(self, reader: Reader, topics: Topics) -> None:
        self._reader = reader
        self._topics = topics
        self._plans: dict[GraphHash, Plan] = {}
        self._latest: dict[str, GraphHash] = {}
        self._covers: dict[GraphHash, GraphHash] = {}
        self._schemas: dict[GraphHash, Schema] = {}
        self._offset = 0
        self._lock = asyncio.Lock()

    def plan(self, definition: GraphHash | None, graph: str = "") -> Plan | None:
        """What is known now: by hash, or without one the latest of the name."""
        found = definition or self._latest.get(graph)
        return None if found is None else self._plans.get(found)

    async def find(self, definition: GraphHash | None, graph: str = "") -> Plan | None:
        """As `plan`. For what is not known it reads first what has been published since. Raises `LogUnavailable`."""
        plan = self.plan(definition, graph)
        if plan is None:
            await self.refresh()
            plan = self.plan(definition, graph)
        return plan

    def plans(self) -> Iterable[Plan]:
        """The latest of each name; a durable one itself, and not its cover."""
        return [covered(self._plans[found]) for found in self._latest.values()]

    def meant(self, graph: str) -> str | None:
        """The graph whose name is closest to one that is not known, if one is close."""
        return meant(graph, self._latest)

    async def refresh(self) -> None:
        """Read what has been published since the last time, up to the end."""
        try:
            # Whoever waits for others to have read waits no longer than they do.
            async with within(_TIMEOUT_SECONDS), self._lock:
                await self._read_on()
        except TimeoutError as error:
            raise LogUnavailable(
                f"{self._topics.graphs} could not be read in {_TIMEOUT_SECONDS:g} s: is the broker there?"
            ) from error

    async def _read_on(self) -> None:
        topic = self._topics.graphs
        end = (await self._reader.end(topic))[0]
        begin = self._offset
        if begin < end:
            begin = max(begin, (await self._reader.beginning(topic))[0])
        if begin >= end:
            return
        async for records in self._reader.read(topic, {0: begin}, until={0: end}):
            for record in records:
                self._offset = record.offset + 1
                if record.value is not None:
                    self._take_in(record)
        self._offset = max(self._offset, end)

    def _take_in(self, record: Record) -> None:
        """Know what is published there. Of what cannot be read there is no graph, and the others are as they were."""
        try:
            self.add(codec.definitions.decode(record.value))
        except Exception as error:  # noqa: BLE001 - whoever wrote it: it must not end everybody who reads the others
            log.warning(
                "left out a definition that this version cannot read, at offset %d of %s: %r; its runs are rejected",
                record.offset,
                record.topic,
                error,
                extra={"action": "definition_unknown", "topic": record.topic, "offset": record.offset},
            )

    def add(self, definition: Definition) -> Plan:
        """Make a definition known to this process."""
        plan = self._known(definition)
        self._latest[definition.name] = self.covering(plan).hash
        return plan

    def covering(self, plan: Plan) -> Plan:
        """What a run that somebody starts of it is a run of: of a durable graph its cover."""
        if not plan.definition.durable:
            return plan
        found = self._covers.get(plan.hash)
        if found is None:
            found = self._covers[plan.hash] = self._known(cover(plan.definition)).hash
        return self._plans[found]

    def _known(self, definition: Definition) -> Plan:
        found = definition.hash
        if found not in self._plans:
            self._plans[found] = self.make(definition)
        return self._plans[found]

    def make(self, definition: Definition) -> Plan:
        """Prepare a definition."""
        return Plan(definition, self._plans)

    def check_input(self, plan: Plan, value: Json) -> None:
        """Raises `InvalidInput` when a value does not fit the graph's input schema."""
        misfit = self._schema(plan).misfit(value)
        if misfit is not None:
            graph, told = plan.definition.name, f"{misfit.place or 'the input'}: {misfit.message}"
            raise InvalidInput(f"the input does not fit graph {graph!r}: {told}", graph=graph)

    def _schema(self, plan: Plan) -> Schema:
        if plan.hash not in self._schemas:
            self._schemas[plan.hash] = Schema(plan.definition.input_schema)
        return self._schemas[plan.hash]


def covered(plan: Plan) -> Plan:
    """The durable graph that a cover stands for; any other plan itself."""
    return (plan.child(WORKFLOW) or plan) if is_cover(plan.definition) else plan


async def publish(appender: Appender, topics: Topics, definitions: Iterable[Definition]) -> None:
    """Publish definitions, so that the coordinators know them. Publishing one again is harmless.

    Raises `InvalidConfig` when two different graphs of one deployment have one name, or share a limit and differ on it.
    """
    seen: dict[str, Definition] = {}
    limits: dict[str, tuple[Limit, str]] = {}
    for definition in definitions:
        other = seen.setdefault(definition.name, definition)
        if other.hash != definition.hash:
            raise InvalidConfig(f"two graphs are named {definition.name!r}: rename one", graph=definition.name)
        for limit in (*definition.limits, *(limit for node in definition.nodes for limit in node.limits)):
            known, graph = limits.setdefault(limit.name, (limit, definition.name))
            if (known.at_once, known.rate, known.per_ms) != (limit.at_once, limit.rate, limit.per_ms):
                raise InvalidConfig(
                    f"limit {limit.name!r} is one thing in graph {graph!r} and another in {definition.name!r}: "
                    f"make them equal, or give one of them another name=",
                    graph=definition.name,
                )
    await appender.append(
        [
            Outgoing(topics.graphs, definition.hash.encode(), codec.definitions.encode(definition), partition=0)
            for definition in seen.values()
        ]
    )
