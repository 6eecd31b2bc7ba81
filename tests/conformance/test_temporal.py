"""The conformance suite on the Temporal shell: a real server, each case a workflow of its own; then with encryption."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.errors import InvalidGraph, RunFailed
from tests.conformance.graphs import CASES, Case, each_limited, limited
from tests.durable import Bench, bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LIMITED = (limited, each_limited)
_CASES = [case for case in CASES if case.graph not in _LIMITED]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "encrypted"])
async def durable(temporal_address: str, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    cipher = AesGcm({"k": bytes(32)}) if request.param == "encrypted" else None
    client = await TemporalConnection(temporal_address).client(cipher)
    async with bench(client, {case.graph.name: case.graph for case in CASES}.values(), cipher=cipher) as made:
        yield made


@pytest.mark.parametrize("case", _CASES, ids=str)
async def test_the_temporal_shell_agrees(durable: Bench, case: Case) -> None:
    run = await durable.start(case.graph, case.input)
    for signal, value in case.signals:
        await durable.signal(run, signal.name, signal.dump(value))
    if case.failure is not None:
        with pytest.raises(RunFailed) as failed:
            await durable.runs.result(run, timeout_seconds=30)
        assert failed.value.reason == case.failure
        return
    result = await durable.runs.result(run, timeout_seconds=30)
    assert case.graph.compile().output.validate_python(result) == case.result


@pytest.mark.parametrize("graph", _LIMITED, ids=lambda graph: graph.name)
async def test_limits_are_refused(durable: Bench, graph: object) -> None:
    with pytest.raises(InvalidGraph, match="limits"):
        await durable.start(graph, 3)
