"""Triggers for the eye: what starts which graph, and what an event would start."""

import time
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from ..adapters.memory.blobs import MemoryBlobs
from ..adapters.memory.clock import SystemClock
from ..application import codec
from ..application.ingest.asking import asked
from ..application.ingest.ingest import Ingest
from ..application.ingest.schedules import moment_of, ticks_between
from ..application.payloads import Payloads
from ..application.topics import Topics
from ..bootstrap import deployment
from ..domain.events import RunRequested
from ..domain.gathering import Batch, Burst, EventArrived, Rule, Window
from ..domain.misspelt import instead
from ..errors import BelugaError, NotFound
from ..ports.handlers import Gathers, Trigger
from ..ports.log import Record
from .aside import aside
from .screen import console, duration, moment, pretty, print_json, table
from .values import settings_with

_TEN_YEARS_MS = 10 * 366 * 86_400_000


async def list_triggers(*, agents: str | None, as_json: bool) -> None:
    """Every trigger by its graph."""
    loaded = await aside(deployment.load_of, settings_with(agents=agents))
    found = [_told(trigger) for trigger in loaded.triggers]
    if as_json:
        print_json(found)
        return
    shown = table("graph", "trigger", "kind", "by")
    for each in found:
        shown.add_row(each["graph"], each["trigger"], each["kind"], each["by"])
    console.print(shown)


async def try_trigger(
    topic: str, value: bytes | None, *, headers: Mapping[str, str], agents: str | None, as_json: bool
) -> None:
    """What an event of the topic would start. Raises `NotFound` when nothing listens to it."""
    loaded = await aside(deployment.load_of, settings_with(agents=agents))
    listening = [trigger for trigger in loaded.triggers if topic in trigger.sources]
    if not listening:
        known = {each for trigger in loaded.triggers for each in trigger.sources}
        raise NotFound(f"there is no topic {topic!r} that triggers a graph: {instead(topic, known)}", topic=topic)
    sent = tuple((name, text.encode()) for name, text in headers.items())
    record = Record(topic, 0, 0, None, value, int(time.time() * 1000), sent)
    payloads = Payloads(MemoryBlobs())
    ingest = asked(loaded, topics=Topics(), payloads=payloads, clock=SystemClock())
    answers = [
        {"graph": trigger.graph, "trigger": trigger.name, **await _answer(ingest, payloads, trigger, side, record)}
        for trigger in listening
        for side in _sides(trigger, topic)
    ]
    if as_json:
        print_json(answers)
        return
    for each in answers:
        console.print(Text.assemble((each["graph"], "bold"), f" by {each['trigger']}: {each['does']}"))
        for name in ("run", "why", "key", "window"):
            if name in each:
                console.print(f"  {name}: {each[name]}")
        if "input" in each:
            console.print(pretty(each["input"]))


async def _answer(ingest: Ingest, payloads: Payloads, trigger: Trigger, side: int, record: Record) -> dict[str, Any]:
    try:
        answer = await ingest.answer(trigger, side, record)
    except BelugaError as error:
        return {"does": "goes to the dead letters", "why": f"{error.code}: {error}"}
    if answer is None:
        return {"does": "nothing", "why": "where= does not pick it"}
    if answer.topic == Topics().run_requests:
        request = codec.incoming.decode(answer.value)
        assert isinstance(request, RunRequested), "nothing else is written there"
        return {"does": "starts a run", "run": request.run, "input": await payloads.load(request.input)}
    event = codec.gathering_events.decode(answer.value)
    assert isinstance(event, EventArrived), "an event leads to nothing else"
    return {"does": "waits for others", "key": event.of, "window": _window(event.rule)}


def _sides(trigger: Trigger, topic: str) -> list[int]:
    if trigger.gathers is None:
        return [0]
    return [number for number, side in enumerate(trigger.gathers.sides) if side.topic == topic]


def _window(rule: Rule) -> str:
    match rule:
        case Window():
            return f"{moment(rule.start_ms)} to {moment(rule.end_ms)}, open until {moment(rule.last_ms)}"
        case Batch():
            return f"until there are {rule.size}, or {duration(rule.wait_ms)} after the first"
        case Burst():
            return f"until none has come for {duration(rule.quiet_ms)}"


def _told(trigger: Trigger) -> dict[str, Any]:
    told = {"graph": trigger.graph, "trigger": trigger.name, "kind": trigger.kind.replace("_", " ")}
    if trigger.gathers is not None:
        return told | {"kind": trigger.gathers.kind, "topics": trigger.sources, "by": _gathers(trigger.gathers)}
    if trigger.schedule is not None:
        schedule, now = trigger.schedule, int(time.time() * 1000)
        coming = next(ticks_between(schedule, now, now + _TEN_YEARS_MS), None)
        comes = "not within ten years" if coming is None else moment_of(schedule, coming).isoformat()
        return told | {"next": comes, "by": f"{schedule.cron} ({schedule.tz}); next {comes}"}
    if trigger.kind == "run_finished":
        return told | {"by": f"runs of {trigger.topic} that have {trigger.status}"}
    return told | {"topics": trigger.sources, "by": f"each event of {trigger.topic}"}


def _gathers(gathers: Gathers) -> str:
    topics = ", ".join(side.topic for side in gathers.sides)
    match gathers.kind:
        case "join":
            missing = f"graph {gathers.graph}" if gathers.graph else gathers.missing.replace("_", " ")
            within = f"within {duration(gathers.within_ms)}, lateness {duration(gathers.lateness_ms)}"
            return f"one event each of {topics} {within}; missing: {missing}"
        case "batch":
            return f"{gathers.size} events of {topics}, or {duration(gathers.wait_ms)} after the first"
        case "burst":
            return f"the last event of {topics} once it is quiet for {duration(gathers.quiet_ms)}"
