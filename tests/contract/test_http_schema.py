"""The gateway keeps its OpenAPI document, whatever is sent to it: schemathesis makes the requests."""

import asyncio
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from beluga_stream.adapters.http.allowance import Limits
from beluga_stream.adapters.http.stream import Pace
from beluga_stream.ports.log import TopicSpec
from tests.unit.desks import Desk, Mood, graph
from tests.unit.gateways import QUICK, opened
from tests.unit.test_gateway import counting

_OPTIONS = replace(
    QUICK,
    pace=Pace(heartbeat=0.5, unknown_after=0.02),
    limits=Limits(rate=1e6),
    wait_seconds=0.2,
)
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_no_request_that_fits_the_document_or_does_not_is_a_server_error() -> None:
    program = Path(sys.executable).with_name("schemathesis")
    found = str(program) if program.exists() else shutil.which("schemathesis")
    assert found is not None, "schemathesis is not installed"
    async with Desk(graph(Mood()), counting()).open(within=170) as desk:
        desk.told_within_seconds = 0.2
        desk.log.create([TopicSpec("orders", 1)])
        async with opened(desk, options=_OPTIONS, publishable=["orders"]) as door:
            process = await asyncio.create_subprocess_exec(
                found,
                "run",
                f"{door.url}/openapi.json",
                f"--checks={_CHECKS}",
                "--phases=coverage,fuzzing",
                "--max-examples=15",
                "--seed=1",
                "--generation-database=none",
                # A stream that would stay open is read for so long, and there are two dozen of them.
                "--request-timeout=3",
                "--no-color",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()[-6_000:]
            assert (await door.say("GET", "/healthz"))[0] == 200
