"""The AsyncAPI 3 document of a deployment: every topic, what lies in it, and what the engine does with it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec.json
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from ..application.messages import Incoming, NodeReady, Notice, Result, Summary
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


def document(settings: Settings, deployed: LoadedDeployment, version: str) -> dict[str, Any]:
    """The document as JSON, by these settings and graphs."""
    specs = {spec.name: spec for spec in engine_topics(settings, settings.queues or deployed.queues)}
    own = _own(settings, deployed.queues)
    schemas, found = _schemas(deployed, own)
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
    for trigger in deployed.triggers:
        if trigger.kind != "topic":
            continue
        message = f"{trigger.topic}.event"
        about = f"An event of {trigger.topic}: JSON, or a CloudEvent (1.0) with it as data."
        add(trigger.topic, message, {"$ref": f"#/components/schemas/{message}"}, about)
        started = f"An event starts a run of {trigger.graph}."
        operate(f"trigger.{trigger.graph}.{trigger.name}", "receive", trigger.topic, message, started)
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


def _schemas(deployed: LoadedDeployment, own: Sequence[_Channel]) -> tuple[dict[str, Any], list[Any]]:
    """Every schema by its name, and those of the engine's topics in their order."""
    found, components = msgspec.json.schema_components([each.holds for each in own], ref_template=_OWN)
    schemas = {f"beluga.{name}": schema for name, schema in components.items()}
    users: list[tuple[str, Any, TypeAdapter[Any]]] = []
    for graph, program in _latest(deployed):
        users.append((f"graph.{graph}.input", "validation", program.input))
        users.append((f"graph.{graph}.output", "serialization", program.output))
    events = {trigger.topic: trigger.adapter for trigger in deployed.triggers if trigger.kind == "topic"}
    users += [(f"{topic}.event", "validation", adapter) for topic, adapter in events.items()]
    known = [each for each in users if _has_schema(each[2], each[1])]
    made, shared = TypeAdapter.json_schemas(known, ref_template=_USERS)
    schemas |= {name: {} for name, _, _ in users}
    schemas |= {str(name): schema for (name, _), schema in made.items()}
    return _told(schemas | shared.get("$defs", {})), _told(list(found))


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
