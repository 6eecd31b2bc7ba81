"""Records what an engine writes, so that later ones can be held to it.

    git worktree add ../released COMMIT && cd ../released    # copy this folder there when it is older than it
    PYTHONPATH=. python tests/compatibility/record.py 2      # the next number

It writes recorded/2: every record of every topic, the tables in the midst of everything, the offsets that were
committed, and the blobs. docs/compatibility.md says when to do it.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beluga_stream.adapters.memory.tables import Changelog
from beluga_stream.application.catalog import publish
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import RunId, run_id
from beluga_stream.ports.log import Outgoing, Position
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.faulty_ports import FaultyAppender
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually
from tests.compatibility import triggers
from tests.compatibility.graphs import ANSWER, CASES, HANGS, Case, Gate

FOLDER = Path(__file__).parent / "recorded"
_STORED_FROM_BYTES = 500
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_LATER = ("line", "parked", "never-begun", "early", HANGS, "unread")
_APPEND = FaultyAppender.append


class _Hanging(FaultyAppender):
    """An appender whose coordinator or gatherer, when it hangs, sends nothing more."""

    hangs = False

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        if _Hanging.hangs and self._process.name.startswith(("coordinator", "gatherer")):
            await asyncio.Event().wait()
        return await _APPEND(self, records)


def run_of(case: Case) -> RunId:
    return run_id(case.graph.name, "api", case.key)


async def start(runs: Runs, case: Case) -> RunId:
    definition = case.graph.compile().definition
    return await runs.start(
        definition.name,
        case.input,
        definition=definition.hash,
        idempotency_key=case.key,
        tags={"case": case.key},
        trace=_TRACE if case.key == "running" else None,
    )


async def _play(cluster: Cluster, runs: Runs, cases: dict[str, Case]) -> None:
    """Bring every run and every gathering to where it is to be found."""
    await cluster.log.append(triggers.EARLY)
    for name, case in cases.items():
        if name not in _LATER:
            await start(runs, case)
    await asyncio.sleep(6)
    await start(runs, cases["line"])  # its nodes are known to be quick by now: one worker does them in one go
    await runs.retry(run_of(cases["mends"]))
    await runs.cancel(run_of(cases["cancelled"]), "recorded")
    await runs.override(run_of(cases["overridden"]), "flaky", timeout_ms=9_000, attempts=5)
    await runs.signal(run_of(cases["buffered"]), ANSWER.name, 5, id="1")
    await runs.start("nobody", 1, idempotency_key="nobody")
    bad = Outgoing(cluster.topics.run_events, b"r", b'{"v":1,"type":"no_such_kind"}', partition=0)
    cluster.log.put(bad, (bad.topic, 0))
    for member in cluster.roles["worker"].members:
        member.process.kill()  # its leases expire
    await asyncio.sleep(27)
    await publish(cluster.log, cluster.topics, [cases["parked"].graph.compile().definition])
    await start(runs, cases["parked"])
    await runs.cancel(run_of(cases["never-begun"]), "too soon")
    await runs.signal(run_of(cases["early"]), ANSWER.name, 7, id="1")
    await asyncio.sleep(3)
    for member in tuple(cluster.roles["worker"].members):
        await cluster.roles["worker"].stop(member)  # it gives back what it holds
    await asyncio.sleep(3)
    await cluster.log.append(triggers.LATE)
    await asyncio.sleep(2)
    _Hanging.hangs = True
    await cluster.log.append([triggers.UNSENT])
    await start(runs, cases[HANGS])
    await asyncio.sleep(2)
    for member in (*cluster.roles["coordinator"].members, *cluster.roles["gatherer"].members):
        member.process.kill()
    await start(runs, cases["unread"])


async def _record(folder: Path) -> None:
    asyncio.get_running_loop().set_task_factory(tasks_of_processes)
    Gate.shut = True
    FaultyAppender.append = _Hanging.append  # type: ignore[method-assign]
    cases = {case.key: case for case in CASES}
    programs = [case.graph.compile() for name, case in cases.items() if name != "parked"]
    programs += [graph.compile() for graph in triggers.GRAPHS]
    options = ClusterOptions(
        coordinators=1,
        workers=1,
        partitions=2,
        faults=0,
        fuse_ms=50,
        inline_limit_bytes=_STORED_FROM_BYTES,
        user_topics=triggers.USER_TOPICS,
    )
    cluster = Cluster(deployed(programs, triggers.TRIGGERS), 1, options)
    cluster.log.create(cluster.topics.specs(["default", "later"]))
    async with cluster.open(), cluster.client() as runs:
        await _play(cluster, runs, cases)
        _write(folder / "records.jsonl", _records(cluster))
        _write(folder / "table.jsonl", _table(cluster.changelogs))
        _write(folder / "gatherings.jsonl", _table(cluster.gatherings))
        _write(folder / "offsets.jsonl", _offsets(cluster))
        _write(
            folder / "blobs.jsonl", ({"ref": ref, "value": json.loads(v)} for ref, v in cluster.blobs.stored.items())
        )


def _records(cluster: Cluster) -> Iterator[dict[str, Any]]:
    counts = {spec.name: spec.partitions for spec in cluster.topics.specs(["default", "later"])}
    for topic, partitions in (counts | dict(triggers.USER_TOPICS)).items():
        for partition in range(partitions):
            for record in cluster.log.records(topic, partition, most=1 << 30):
                yield {
                    "topic": record.topic,
                    "partition": record.partition,
                    "key": None if record.key is None else record.key.decode(),
                    "headers": [[name, value.decode()] for name, value in record.headers],
                    "value": json.loads(record.value or b"null"),
                }


def _table(changelogs: Mapping[int, Changelog]) -> Iterator[dict[str, Any]]:
    for partition, changelog in sorted(changelogs.items()):
        for key, value in changelog.rows.items():
            is_text = key == "~answered"
            yield {"partition": partition, "key": key, "value": value.decode() if is_text else json.loads(value)}


def _offsets(cluster: Cluster) -> Iterator[dict[str, Any]]:
    for members in cluster.roles.values():
        group = members._group
        for (topic, partition), offset in sorted(group._committed.items()):
            yield {"group": group.name, "topic": topic, "partition": partition, "offset": offset}


def _write(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)


if __name__ == "__main__":
    chosen = FOLDER / sys.argv[1]
    chosen.mkdir(parents=True, exist_ok=True)
    run_virtually(_record(chosen), 1)
