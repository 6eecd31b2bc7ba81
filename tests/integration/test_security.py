"""The engine on an Apache Kafka that asks who is there: each role with its least rights, and with one too few."""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import BusMessage, Retry, Signal, connect, kafka_bus
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.fence import FencedProducer
from beluga_stream.adapters.kafka.groups import KafkaWorkers
from beluga_stream.adapters.kafka.rights import missing
from beluga_stream.bootstrap import deployment
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.declared import engine_topics
from beluga_stream.bootstrap.preparation import prepare, uses_of
from beluga_stream.bootstrap.rights import HOLDERS, Holder, rights_of
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import AccessDenied, TaskCanceled
from beluga_stream.ports.rights import Right, required
from tests.acceptance import test_shells as shells
from tests.acceptance.notes import declare
from tests.admitted import Session
from tests.brokers import BrokerUnavailable
from tests.engine import Engine, client_environ, running
from tests.integration import secured_agents as graphs
from tests.listed import listed
from tests.secured import SecuredBroker, start_secured

_ROOT = Path(__file__).resolve().parents[2]
_AGENTS = "tests.integration.secured_agents"
_PREFIX = "safe"
_ROLES: tuple[Holder, ...] = ("coordinator", "worker", "ingest")

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    try:
        broker, process = start_secured(tmp_path_factory.mktemp("secured"))
    except BrokerUnavailable as reason:
        if os.environ.get("BELUGA_REQUIRE_KAFKA", "") not in {"", "0"}:
            pytest.fail(f"no broker with users and rights: {reason}", pytrace=False)
        pytest.skip(f"needs Apache Kafka itself: {reason}")
    yield broker
    process.stop()


def _settings(**given: Any) -> Settings:
    return Settings.load(prefix=_PREFIX, agents=_AGENTS, **given)


def _rights(holder: Holder) -> list[Right]:
    settings = _settings()
    return rights_of(holder, settings, uses_of(settings, deployment.load(_AGENTS)))


class _Deployment:
    """The roles as processes, each under a user of its own, and the command line under others."""

    def __init__(self, broker: SecuredBroker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.users: dict[Holder, Mapping[str, str]] = {}
        self.said: list[str] = []
        self.shared = {"prefix": _PREFIX, "agents": _AGENTS, "blobs": str(folder / "blobs")}

    def engine(self, role: str, user: Mapping[str, str], name: str = "") -> Engine:
        folder = self.folder / (name or role)
        folder.mkdir()
        settings = {
            **self.shared,
            **user,
            "role": role,
            "heartbeat_seconds": "0.3",
            "lease_after_seconds": "0.2",
            "log_level": "DEBUG",
        }
        return Engine(user["broker"], folder, **{key: value for key, value in settings.items() if key != "broker"})

    def environ(self, holder: Holder) -> dict[str, str]:
        return {f"BELUGA_{key.upper()}": value for key, value in {**self.shared, **self.users[holder]}.items()}

    async def beluga(self, holder: Holder, *words: str, code: int = 0) -> str:
        """A command of `beluga` under the user of this role; what it prints, and what it logs in `said`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "beluga_stream.cli", "--verbose", *words,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT), **self.environ(holder)},
        )  # fmt: skip
        out, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, f"{words}: {process.returncode}\n{out.decode()}\n{error.decode()}"
        assert b"Traceback" not in error
        self.said += [out.decode(), error.decode()]
        return out.decode()


@contextlib.asynccontextmanager
async def _roles(deployed: _Deployment) -> AsyncIterator[dict[str, Engine]]:
    engines = {role: deployed.engine(role, deployed.users[role]) for role in _ROLES}
    try:
        await asyncio.gather(*(asyncio.to_thread(engine.start, groups=1) for engine in engines.values()))
        yield engines
    finally:
        codes = await asyncio.gather(*(asyncio.to_thread(engine.stop) for engine in engines.values()))
    assert codes == [0, 0, 0], {role: engine.tail for role, engine in engines.items()}


async def test_every_role_works_with_its_least_rights(
    secured: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Trigger, streams, leases, blobs, pages, signals, cancels and commands, with no right but those in the table.

    Everything is logged that can be, and no password is in it.
    """
    caplog.set_level(logging.DEBUG)
    deployed = _Deployment(secured, tmp_path)
    for holder in HOLDERS:
        deployed.users[holder] = await secured.add_user(holder, _rights(holder))
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "t.yaml").write_text("topics:\n  - name: secured.events\n    partitions: 2\n")
    assert "created safe.run-requests" in await deployed.beluga("operator", "topics", "apply")

    for name, value in deployed.environ("client").items():
        monkeypatch.setenv(name, value)
    async with _roles(deployed) as engines:
        said = await deployed.beluga("client", "run", "talk", '"to be or not"', "--json")
        events = [json.loads(line) for line in said.splitlines()]
        assert [event["value"] for event in events if event["type"] == "chunk"] == ["to", "be", "or", "not"]
        assert events[-1]["output"] == 4

        async with connect() as client:
            asked = [run.id for run in await client.list(graph="talk")]
            await deployed.beluga("client", "publish", "secured.events", '"one two"')
            assert await (await listed(client, graphs.talk, but=asked)).result(timeout=60) == 2
            assert await (await listed(client, graphs.settled)).result(timeout=60) == len("one two")

            number = await client.start(graphs.leased, 1)
            pages = await client.start(graphs.paged, list(range(200)))
            asked = await client.start(graphs.asks, 1)
            await asked.signal(Signal("answer", int), 42)
            stopped = await client.start(graphs.stuck, 1)
            await stopped.cancel("enough")
            assert await number.result(timeout=60) == 100_000
            assert await pages.result(timeout=60) == 19_900
            assert await asked.result(timeout=60) == 42
            with pytest.raises(TaskCanceled):
                await stopped.result(timeout=60)
            waits = await client.start(graphs.asks, 2)

        told = json.loads(await deployed.beluga("client", "runs", "list", "--json"))
        assert {run["graph"] for run in told} == {"talk", "settled", "leased", "paged", "asks", "stuck"}
        assert "signal" in await deployed.beluga("operator", "runs", "show", waits.id)
        checked = await deployed.beluga("operator", "doctor")
        assert "with the partitions declared" in checked
        assert "cleanup and retention are as declared" in checked
        assert "fencing" in await deployed.beluga("client", "doctor")
        assert not engines["coordinator"].said("table.unfenced")
        assert not any(engine.said("topics_unchecked") for engine in engines.values())
        workers = KafkaWorkers(kafka(_settings(**deployed.users["coordinator"])), f"{_PREFIX}-worker")
        assert await workers.acknowledged(f"{_PREFIX}.node-ready.default"), "what watches over lost work sees nothing"
        assert not any(engine.said("dead_letter") for engine in engines.values())
    said = "".join([*(engine.log.read_text() for engine in engines.values()), *deployed.said, caplog.text])
    assert "SCRAM-SHA-512" in said, "the logs are there"
    for user in deployed.users.values():
        assert user["sasl_password"] not in said


async def test_one_graph_passes_through_every_door_with_least_rights(
    secured: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acceptance test, as `BELUGA_TEST_SECURITY=scram` runs them all: an engine of every role, and commands."""
    monkeypatch.setattr(Session, "secured", secured)
    declare(tmp_path)
    with running(secured.admin, tmp_path, agents="tests.acceptance.notes") as engine:
        assert "BELUGA_SASL_PASSWORD" in client_environ(engine)
        await shells.test_one_graph_gives_the_same_through_every_door(engine)


async def test_an_agent_uses_the_bus_with_its_least_rights(secured: SecuredBroker, tmp_path: Path) -> None:
    """Messages, groups, requests, dead letters; and an operator sends one of those again."""
    deployed = _Deployment(secured, tmp_path)
    holders: tuple[Holder, ...] = ("agent", "operator")
    for holder in holders:
        deployed.users[holder] = await secured.add_user(holder, _rights(holder))
    await deployed.beluga("operator", "topics", "apply")
    attempts: list[int] = []
    again = asyncio.Event()

    async def fails(message: BusMessage[int]) -> None:
        attempts.append(message.data)
        if len(attempts) > 1:
            again.set()
        raise OSError("away")

    settings = _settings(**deployed.users["agent"], blobs=deployed.shared["blobs"])
    async with asyncio.timeout(90), kafka_bus(settings=settings) as bus:
        await bus.subscribe("jobs.*", int, fails, group="workers", retry=Retry(1))
        await bus.subscribe("double", int, lambda message: 2 * message.data)
        assert await bus.request("double", 2, int) == 4
        await bus.publish("jobs.new", 7)
        while not await bus.dead_letters():  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.05)
        await deployed.beluga("operator", "dead-letters", "replay", "--all")
        await again.wait()
    assert attempts == [7, 7]


_CHANGELOG = "safe-coordinator-runs-changelog"
_TOLD_RIGHT = rf"the role coordinator needs: Read and Write on topic {_CHANGELOG}. `beluga acls coordinator --user u"
_TOLD_FENCE = r"cannot become the owner of safe-coordinator-\d: .* Write on transactional-id safe-coordinator-\d: see"
_TOLD_PASSWORD = r"does not let user '\w+' in .*check BELUGA_SASL_USERNAME"
_TOLD_TOPICS = (
    r"these topics do not exist, and .* does not grant user '\w+' Create on them: bare\..*`beluga topics apply`"
)


@pytest.mark.parametrize(
    ("role", "without", "told"),
    [
        ("coordinator", _CHANGELOG, _TOLD_RIGHT),
        ("coordinator", "fence", _TOLD_FENCE),
        ("worker", "password", _TOLD_PASSWORD),
        ("ingest", "topics", _TOLD_TOPICS),
    ],
)
async def test_a_role_with_one_right_too_few_says_which_in_one_line(
    secured: SecuredBroker, tmp_path: Path, role: Holder, without: str, told: str
) -> None:
    """No crash loop and no traceback: the process ends, and its last word names the right and the role."""
    rights = [right for right in _rights(role) if right.name != without]
    if without == "fence":
        # It may see its ids, so that the broker has nothing to say before the first partition is taken.
        rights = [
            replace(right, operations=("Describe",)) if right.resource == "transactional-id" else right
            for right in rights
        ]
        async with KafkaTopics(KafkaConnection.parse(secured.admin)) as admin:
            await admin.ensure(engine_topics(_settings(topics=tmp_path), ("default",)))
    user = dict(await secured.add_user(f"u{secrets.token_hex(4)}", rights))
    more: dict[str, str] = {}
    match without:
        case "password":
            user["sasl_password"] = "wrong"
        case "topics":
            # The same rights under another prefix, whose topics nobody has made.
            more["prefix"] = "bare"
            rights = [replace(right, name=right.name.replace(_PREFIX, "bare", 1)) for right in rights]
            user = dict(await secured.add_user(f"u{secrets.token_hex(4)}", rights))
        case _:
            pass
    deployed = _Deployment(secured, tmp_path)
    deployed.shared.update(more)
    engine = deployed.engine(role, user)
    with pytest.raises(AssertionError, match=r"the engine ended with code [1-9]"):
        await asyncio.to_thread(engine.start, groups=1)
    said = engine.log.read_text()
    # Faust's spinner may have written in front of it.
    lines = [json.loads(line[line.index("{") :]) for line in said.splitlines() if '"level":' in line]
    refused = [line for line in lines if line["level"] == "critical"]
    assert [line.get("code") or line["error"] for line in refused] in (["access_denied"], ["AccessDenied"]), said
    assert re.search(told, refused[0]["message"]), refused
    assert refused[0]["message"].endswith("see docs/security.md")
    assert "Traceback" not in said


async def test_a_role_that_may_not_see_how_topics_are_kept_says_so_and_works(
    secured: SecuredBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As every role does whose rights are from before it looked at that."""
    async with KafkaTopics(KafkaConnection.parse(secured.admin)) as admin:
        await admin.ensure(engine_topics(_settings(topics=tmp_path), ("default",)))
    for rights, unchecked in ((_rights("worker"), False), (required(_rights("worker")), True)):
        user = await secured.add_user(f"u{secrets.token_hex(4)}", rights)
        settings = _settings(role="worker", topics=tmp_path, **user)
        caplog.clear()
        await prepare(settings, kafka(settings), deployment.load(_AGENTS))
        said = [record for record in caplog.records if getattr(record, "action", "") == "topics_unchecked"]
        assert [f"{_PREFIX}.node-done" in record.getMessage() for record in said] == [True] * unchecked


async def test_rights_of_a_role_that_is_there_by_default_are_checked_too(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """Where Temporal is set up, `workflows` is among the roles of a process that names none."""
    rights = {right for role in _ROLES for right in _rights(role)}
    user = await secured.add_user("three-roles", list(rights))
    deployed = _Deployment(secured, tmp_path)
    engine = deployed.engine("three-roles", {**user, "temporal_address": "127.0.0.1:1"})
    del engine.environ["BELUGA_ROLE"]
    with pytest.raises(AssertionError, match=r"the engine ended with code [1-9]"):
        await asyncio.to_thread(engine.start, groups=1)
    assert re.search(
        r"what the role workflows needs: .*Read on topic safe\.workflow-requests", engine.log.read_text()
    ), engine.tail


async def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(secured: SecuredBroker) -> None:
    user = dict(await secured.add_user("careful", []))
    del user["tls_ca"]
    with pytest.raises(AccessDenied, match=r"no TLS connection .*CERTIFICATE_VERIFY_FAILED.*check BELUGA_TLS_CA"):
        await KafkaTopics(kafka(_settings(**user)), patience=60).start()


async def test_a_command_without_its_right_says_which(secured: SecuredBroker, tmp_path: Path) -> None:
    deployed = _Deployment(secured, tmp_path)
    rights = [right for right in _rights("client") if right.name != "safe.run-requests"]
    deployed.users["client"] = await secured.add_user("mute", rights)
    await deployed.beluga("client", "run", "talk", '"to be"', code=2)
    said = [line for line in deployed.said[-1].splitlines() if line.startswith("beluga: ")]
    assert len(said) == 1
    assert "does not grant user 'mute' Write on one of these topics: safe.run-requests: see docs/security.md" in said[0]
    rights = [right for right in _rights("client") if right.name != "safe.runs"]
    deployed.users["client"] = await secured.add_user("blind", rights)
    await deployed.beluga("client", "runs", "list", code=2)
    said = [line for line in deployed.said[-1].splitlines() if line.startswith("beluga: ")]
    assert len(said) == 1
    assert "does not grant user 'blind' Read on topic safe.runs: see docs/security.md" in said[0]


async def test_the_table_of_rights_names_what_is_missing(secured: SecuredBroker) -> None:
    """For each right of each role: a user with all but that one is told so, by name and operation."""
    for holder in HOLDERS:
        rights = [right for right in _rights(holder) if right.resource != "topic" or not right.prefixed]
        for at, right in enumerate(rights):
            user = await secured.add_user(f"almost-{holder}-{at}", [*rights[:at], *rights[at + 1 :]])
            lacking = await missing(kafka(_settings(**user)), rights)
            assert [(each.resource, each.name) for each in lacking] == [(right.resource, right.name)]
            assert set(lacking[0].operations) <= set(right.operations)


async def test_an_owner_that_may_only_see_its_id_is_told_so(secured: SecuredBroker) -> None:
    """The right that cannot be asked about; without it the broker must not look like one that cannot fence."""
    user = await secured.add_user("sees", [Right("transactional-id", "safe-x-0", ("Describe",), "")])
    producer = FencedProducer(kafka(_settings(**user)), "safe-x-0", timeout=10)
    with pytest.raises(AccessDenied, match="does not grant user 'sees' Write on transactional-id safe-x-0"):
        await producer.start()
