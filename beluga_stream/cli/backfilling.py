"""Starting what earlier events should have started."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.blobs import MemoryBlobs
from ..adapters.memory.clock import SystemClock
from ..application.clients.runs import Runs
from ..application.ingest.backfill import Backfill, Span
from ..application.payloads import Payloads
from ..bootstrap import deployment
from ..bootstrap.client import open_runs
from ..bootstrap.connection import kafka, topics
from ..domain.misspelt import instead
from ..errors import InvalidInput, NotFound
from ..ports.handlers import Trigger
from .aside import aside
from .screen import console, print_json
from .values import settings_with

_SHOWN = 20


async def backfill(  # a command has as many options as its users need
    name: str,
    *,
    begin: str,
    end: str | None,
    partition: int | None,
    dry_run: bool,
    parallel: int,
    timeout_seconds: float,
    agents: str | None,
    broker: str | None,
    as_json: bool,
) -> None:
    """Start what is missing, or with `dry_run` say what that is."""
    settings = settings_with(agents=agents, broker=broker)
    loaded = await aside(deployment.load_of, settings)
    trigger = _named(loaded, name)
    async with open_runs(settings) as runs, KafkaReader(kafka(settings), committed_only=True) as reader:
        filling = Backfill(
            trigger,
            deployment=loaded,
            topics=topics(settings),
            reader=reader,
            payloads=Payloads(MemoryBlobs()) if dry_run else runs.payloads,
            clock=SystemClock(),
        )
        span = await _span(trigger, reader, begin, end, partition)
        if dry_run:
            await _tell(filling, span, runs, as_json=as_json)
            return
        told = await filling.play(span, runs, parallel=parallel, timeout_seconds=timeout_seconds)
    if as_json:
        print_json(told)
    else:
        console.print(", ".join(f"{count} {what}" for what, count in told.items()) or "there is nothing to start")


async def _tell(filling: Backfill, span: Span, runs: Runs, *, as_json: bool) -> None:
    known = await filling.known(runs)
    told: Counter[str] = Counter()
    starts: list[dict[str, str]] = []
    async for found in filling.missing(span, known):
        told[found.why or "would start"] += 1
        if found.request is not None and (as_json or len(starts) < _SHOWN):
            starts.append({"by": found.place, "run": found.request.run})
    if as_json:
        print_json({"counts": told, "starts": starts})
        return
    console.print(", ".join(f"{count} {what}" for what, count in told.items()) or "there is nothing to start")
    for each in starts:
        console.print(f"  {each['by']}  {each['run']}")
    if told["would start"] > len(starts):
        console.print(f"  and {told['would start'] - len(starts)} more: --json has all")


def _named(loaded: deployment.LoadedDeployment, name: str) -> Trigger:
    graph, _, trigger = name.partition("/")
    found = [each for each in loaded.triggers if each.graph == graph and trigger in ("", each.name)]
    if len(found) == 1:
        return found[0]
    if not found:
        known = {f"{each.graph}/{each.name}" if trigger else each.graph for each in loaded.triggers}
        raise NotFound(f"there is no trigger {name!r}: {instead(name, known)}", trigger=name)
    these = ", ".join(f"{each.graph}/{each.name}" for each in found)
    raise InvalidInput(f"graph {graph!r} has {len(found)} triggers: say which, of {these}", graph=graph)


async def _span(trigger: Trigger, reader: KafkaReader, begin: str, end: str | None, partition: int | None) -> Span:
    now = int(time.time() * 1000)
    if trigger.schedule is not None:
        return Span({}, {}, _time(begin), now if end is None else min(now, _time(end)))
    if trigger.gathers is not None:
        if partition is not None:
            raise InvalidInput("the events of a join lie in several topics: leave --partition out")
        return Span({}, {}, _time(begin), now if end is None else _time(end))
    ends = await reader.end(trigger.topic)
    first = await _offsets(trigger, reader, begin)
    last = ends if end is None else await _offsets(trigger, reader, end)
    chosen = [number for number in ends if partition in (None, number)]
    if not chosen:
        raise NotFound(f"topic {trigger.topic} has no partition {partition}", topic=trigger.topic)
    return Span({p: first[p] for p in chosen}, {p: min(last[p], ends[p]) for p in chosen})


async def _offsets(trigger: Trigger, reader: KafkaReader, text: str) -> Mapping[int, int]:
    """Where a time, or an offset, lies in each partition."""
    if text.isdecimal():
        return dict.fromkeys(range(await reader.partitions(trigger.topic)), int(text))
    return await reader.at_time(trigger.topic, _time(text))


def _time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is neither an offset nor a time as 2026-01-31T09:00Z") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
