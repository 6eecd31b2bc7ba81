"""How the server is reached, and how it is told when that fails."""

import asyncio
import logging
from pathlib import Path

import pytest

from beluga_stream import Graph
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.errors import TemporalUnavailable
from tests.durable import Bench, Deployed, started_threads
from tests.temporal_server import temporal_server


async def increment(number: int) -> int:
    return number + 1


one = Graph[int, int]("durable-one", durable=True)
one.set_finish_point(one.add_node(increment, one.input))


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "beluga_stream.temporal"]


async def test_a_namespace_that_is_not_there_is_told_before_anything_is_served(temporal_address: str) -> None:
    with pytest.raises(TemporalUnavailable, match=r"has no namespace 'nowhere': set BELUGA_TEMPORAL_NAMESPACE"):
        await TemporalConnection(temporal_address, namespace="nowhere").client()


async def test_what_the_sdk_s_core_says_is_a_log_record_and_no_raw_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with started_threads(2) as threads:
        with temporal_server(tmp_path) as address:
            made = Bench(await TemporalConnection(address).client(), Deployed([one.compile()]))
            worker = await made.worker(threads=threads).__aenter__()
        try:  # the server is gone
            async with asyncio.timeout(60):
                while not (found := said(caplog)):  # noqa: ASYNC110 - of which nothing tells
                    await asyncio.sleep(0.1)
        finally:
            await worker.__aexit__(None, None, None)
            await made.close()
    assert (found[0].levelno, vars(found[0])["action"]) == (logging.WARNING, "temporal")
    assert "Unavailable" in found[0].getMessage()
    assert "temporalio" not in capfd.readouterr().err
