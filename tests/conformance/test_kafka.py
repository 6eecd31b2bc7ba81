"""The conformance suite on the Kafka shell: one engine process, every case a run of its own; then with encryption."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beluga_stream import Client, NodeChanged
from beluga_stream.adapters.crypto.aesgcm import new_key
from beluga_stream.errors import RunFailed
from tests.conformance.graphs import CASES, Case, inner, nested
from tests.engine import Engine, client_environ, connected, running


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    (folder / "topics").mkdir()
    (folder / "topics" / "docs.yaml").write_text("topics:\n  - name: conformance.docs\n    partitions: 3\n")
    more = {"encryption_keys": new_key("k")} if request.param == "encrypted" else {}
    with running(broker, folder, agents="tests.conformance.graphs", **more) as engine:
        yield engine


@pytest.fixture
async def client(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    async with connected(engine, monkeypatch) as client:
        yield client


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_kafka_shell_agrees(client: Client, case: Case) -> None:
    run = await client.start(case.graph, case.input)
    for signal, value in case.signals:
        await run.signal(signal, value)
    if case.failure is not None:
        with pytest.raises(RunFailed) as failed:
            await run.result(timeout=30)
        assert failed.value.reason == case.failure
        return
    assert await run.result(timeout=30) == case.result


async def test_a_graph_in_a_graph_is_a_run_that_its_parent_leads_to(client: Client, engine: Engine) -> None:
    run = await client.start(nested, 3)
    assert await run.result(timeout=30) == [2, 4, 6]
    async with asyncio.timeout(30):
        while len(children := await client.list(parent=run.id, status="succeeded")) < 3:  # noqa: ASYNC110 - summaries
            await asyncio.sleep(0.05)
    assert {(child.graph, child.parent) for child in children} == {("inner", run.id)}
    told = [event async for event in client.run(inner, children[0].id).stream()]
    assert {event.node for event in told if isinstance(event, NodeChanged)} == {"increment", "double"}
    listed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "beluga_stream.cli", "runs", "list", "--parent", run.id, "--json",
        env=os.environ | client_environ(engine), stdout=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        said, _ = await listed.communicate()
    assert {child["run"] for child in json.loads(said)} == {child.id for child in children}
