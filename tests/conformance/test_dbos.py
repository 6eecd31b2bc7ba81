"""The conformance suite on the DBOS shell: one engine over one SQLite file, every case a workflow of its own."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from beluga_stream.api.features import WorkflowOptions
from beluga_stream.bootstrap.dbos_provider import DbosProvider
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidGraph, RunFailed
from tests.conformance.graphs import CASES, Case, each_limited, limited

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LIMITED = (limited, each_limited)
_CASES = [case for case in CASES if case.graph not in _LIMITED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DbosProvider]:
    database: Path = tmp_path_factory.mktemp("dbos") / "dbos.sqlite"
    made = DbosProvider(Settings.load(dbos_database=str(database)))
    yield made
    await made.aclose()


@pytest.mark.parametrize("case", _CASES, ids=str)
async def test_the_dbos_shell_agrees(provider: DbosProvider, case: Case) -> None:
    runner = provider.workflow(case.graph, WorkflowOptions(timeout=None))
    run = await runner.start(case.input, secrets.token_hex(8))
    for signal, value in case.signals:
        await runner.signal(run, signal.name, signal.dump(value))
    if case.failure is not None:
        with pytest.raises(RunFailed) as failed:
            await runner.result(run)
        assert failed.value.reason == case.failure
        return
    assert await runner.result(run) == case.result


@pytest.mark.parametrize("graph", _LIMITED, ids=lambda graph: graph.name)
async def test_limits_are_refused(provider: DbosProvider, graph: object) -> None:
    with pytest.raises(InvalidGraph, match="limits"):
        await provider.workflow(graph, WorkflowOptions(timeout=None)).start(3, secrets.token_hex(8))  # type: ignore[arg-type]  # of many types
