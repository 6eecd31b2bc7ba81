"""The AsyncAPI 3 document of a deployment: every topic, what lies in it, and what the engine does with it."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec.json
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from ..application.messages import Incoming, NodeReady, Notice, Result, Summary
from ..domain.contracts import LISTED, Kind
from ..domain.definition import Definition
from ..domain.events import RunRequested
from ..ports.handlers import Program
from ..ports.log import TopicSpec
from .connection import topics
from .declared import engine_topics
from .deployment import LoadedDeployment
from .settings import Settings

_VERSION = "3.0.0"
_BINDING = "0.5.0"
_OWN = "#/components/schemas/beluga.{name}"
_USERS = "#/components/schemas/{model}"


class _Channel(NamedTuple):
    """A topic of the engine: what lies in it, and whether clients write or read it."""

    topic: str
    about: str
    holds: Any
    receives: bool
    sends: bool


class _Event(NamedTuple):
    """What a trigger reads of one topic."""

    operation: str
    topic: str
    message: str
    adapter: TypeAdapter[Any]
    about: str
    reader: str | None = None


class _Typed(NamedTuple):
    """What has a type that others go by, and the name of its schema. See `domain/contracts.py`."""

    schema: str
    kind: Kind
    of: str
    part: str | None
    adapter: TypeAdapter[Any]


def document(settings: Settings, deployed: LoadedDeployment, version: str) -> dict[str, Any]:
    """The document as JSON, by these settings and graphs."""
    specs = {spec.name: spec for spec in engine_topics(settings, settings.queues or deployed.queues)}
    own = _own(settings, deployed.queues)
    events = _events(deployed)
    typed = [
        *_typed(deployed),
        *(_Typed(event.message, Kind.EVENT, event.topic, event.reader, event.adapter) for event in events),
    ]
    typed = list({each.schema: each for each in typed}.values())
    schemas, found = _schemas(typed, own)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}

    def add(channel: str, message: str, payload: Any, about: str) -> None:
        messages[message] = {"name": message, "contentType": "application/json", "summary": about, "payload": payload}
        entry = channels.setdefault(channel, _channel(channel, specs.get(channel)))
        entry["messages"][message] = {"$ref": f"#/components/messages/{message}"}

    def operate(name: str, action: str, channel: str, message: str, about: str) -> None:
        held = [{"$ref": f"#/channels/{channel}/messages/{message}"}]
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": about,
            "messages": held,
        }

    for number, each in enumerate(own):
        name = each.topic.removeprefix(f"{settings.prefix}.")
        add(each.topic, name, found[number], each.about)
        if each.receives:
            operate(f"receive.{name}", "receive", each.topic, name, each.about)
        if each.sends:
            operate(f"send.{name}", "send", each.topic, name, each.about)
    for graph, program in _latest(deployed):
        message = f"start.{graph}"
        about = f"Starts a run of {graph}."
        add(topics(settings).run_requests, message, _start(graph), about)
        operate(message, "receive", topics(settings).run_requests, message, about)
        operations[message]["description"] = f"Gives `graph.{graph}.output`; {len(program.definition.nodes)} nodes."
    for event in events:
        about = f"An event of {event.topic}: JSON, or a CloudEvent (1.0) with it as data."
        add(event.topic, event.message, {"$ref": f"#/components/schemas/{event.message}"}, about)
        operate(event.operation, "receive", event.topic, event.message, event.about)
    for spec in specs.values():
        channels.setdefault(spec.name, _channel(spec.name, spec))
    return {
        "asyncapi": _VERSION,
        "info": {
            "title": f"beluga_stream: {settings.prefix}",
            "version": version,
            "description": "Every topic of this deployment. docs/wire.md says what the engine's own records mean.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": settings.broker.partition(",")[0], "protocol": _protocol(settings)}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
        LISTED: [{"kind": each.kind, "of": each.of, "part": each.part, "schema": each.schema} for each in typed],
    }


def _own(settings: Settings, queues: Sequence[str]) -> list[_Channel]:
    names = topics(settings)
    both = {"receives": True, "sends": True}
    return [
        _Channel(names.run_requests, "Starts of runs, keyed by run.", RunRequested, receives=True, sends=False),
        _Channel(names.run_events, "Signals, cancels, timers, ends of children.", Incoming, **both),
        _Channel(names.node_done, "What workers report.", Incoming, **both),
        _Channel(names.run_results, "What readers see of runs.", Result, receives=False, sends=True),
        _Channel(names.runs, "The newest summary of each run (compacted).", Summary, receives=False, sends=True),
        _Channel(names.control, "Cancels, for every worker.", Notice, **both),
        _Channel(names.graphs, "Definitions (compacted).", Definition, **both),
        *(_Channel(names.node_ready(queue), f"Work of queue {queue}.", NodeReady, **both) for queue in queues),
    ]


def _schemas(typed: Sequence[_Typed], own: Sequence[_Channel]) -> tuple[dict[str, Any], list[Any]]:
    """Every schema by its name, and those of the engine's topics in their order."""
    found, components = msgspec.json.schema_components([each.holds for each in own], ref_template=_OWN)
    schemas = {f"beluga.{name}": schema for name, schema in components.items()}
    users: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (each.schema, "validation" if each.kind.is_read else "serialization", each.adapter) for each in typed
    ]
    known = [each for each in users if _has_schema(each[2], each[1])]
    made, shared = TypeAdapter.json_schemas(known, ref_template=_USERS)
    schemas |= {name: {} for name, _, _ in users}
    schemas |= {str(name): schema for (name, _), schema in made.items()}
    return _told(schemas | shared.get("$defs", {})), _told(list(found))


def _events(deployed: LoadedDeployment) -> list[_Event]:
    """What triggers read. A topic that all of them read as one type has one message, else each reader has its own."""
    found: list[_Event] = []
    for trigger in deployed.triggers:
        operation = _key(f"trigger.{trigger.graph}.{trigger.name}")
        if trigger.kind == "topic":
            about = f"An event starts a run of {trigger.graph}."
            found.append(_Event(operation, trigger.topic, "", trigger.adapter, about))
        elif trigger.gathers is not None:
            about = f"With others it starts a run of {trigger.graph} ({trigger.gathers.kind})."
            found += [
                _Event(f"{operation}.{number}", side.topic, "", side.adapter, about)
                for number, side in enumerate(trigger.gathers.sides)
            ]
    kinds: dict[str, list[Any]] = {}
    for event in found:
        told = event.adapter.json_schema() if _has_schema(event.adapter, "validation") else None
        known = kinds.setdefault(event.topic, [])
        if told not in known:
            known.append(told)
    return [
        event._replace(message=f"{event.topic}.event", reader=None)
        if len(kinds[event.topic]) == 1
        else event._replace(message=f"{event.topic}.event.{event.operation}", reader=event.operation)
        for event in found
    ]


def _typed(deployed: LoadedDeployment) -> Iterable[_Typed]:
    """What graphs take and give."""
    for graph, program in _latest(deployed):
        yield _Typed(f"graph.{graph}.input", Kind.INPUT, graph, None, program.input)
        yield _Typed(f"graph.{graph}.output", Kind.OUTPUT, graph, None, program.output)
        for node, handler in program.handlers.items():
            if handler.streams:
                yield _Typed(_key(f"graph.{graph}.chunks.{node}"), Kind.CHUNKS, graph, node, handler.output)
        for name, adapter in program.signals.items():
            yield _Typed(_key(f"graph.{graph}.signal.{name}"), Kind.SIGNAL, graph, name, adapter)


def _key(name: str) -> str:
    """The name as AsyncAPI allows it for a component: other letters by their number."""
    return re.sub(r"[^\w.-]", lambda letter: f"_{ord(letter[0]):x}", name)


def _told(tree: Any) -> Any:
    """The schemas as AsyncAPI wants them: a discriminator is a name there, and not OpenAPI's object."""
    if isinstance(tree, list):
        return [_told(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    told = {name: _told(each) for name, each in tree.items()}
    mark = told.get("discriminator")
    if isinstance(mark, dict) and "propertyName" in mark and ("anyOf" in told or "oneOf" in told):
        told["discriminator"] = mark["propertyName"]
    return told


def _has_schema(adapter: TypeAdapter[Any], mode: Any) -> bool:
    """Not every type has one; of such a value anything is said to be possible."""
    try:
        adapter.json_schema(mode=mode)
    except PydanticInvalidForJsonSchema:
        return False
    return True


def _latest(deployed: LoadedDeployment) -> Iterable[tuple[str, Program]]:
    for name in sorted(deployed.works):
        program = deployed.latest(name)
        if program is not None:
            yield name, program


def _start(graph: str) -> dict[str, Any]:
    """A `run_requested` whose input, where it stands in the record, is the graph's."""
    inline = {
        "properties": {"kind": {"const": "inline"}, "value": {"$ref": f"#/components/schemas/graph.{graph}.input"}}
    }
    elsewhere = {"properties": {"kind": {"enum": ["stored", "sealed"]}}}
    mine = {"properties": {"graph": {"const": graph}, "input": {"anyOf": [inline, elsewhere]}}}
    return {"allOf": [{"$ref": _OWN.format(name="RunRequested")}, mine]}


def _channel(name: str, spec: TopicSpec | None) -> dict[str, Any]:
    kafka: dict[str, Any] = {"topic": name, "bindingVersion": _BINDING}
    if spec is not None:
        kafka |= {"partitions": spec.partitions, "replicas": spec.replication}
    return {"address": name, "messages": {}, "bindings": {"kafka": kafka}}


def _protocol(settings: Settings) -> str:
    return "kafka-secure" if settings.security_protocol.endswith("SSL") else "kafka"
