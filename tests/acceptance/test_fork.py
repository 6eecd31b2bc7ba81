"""Forks on a real broker: by the client, over HTTP and on the command line; what is taken over runs once."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from beluga_stream import Chunk, connect
from beluga_stream.errors import InvalidInput, InvalidState, NotFound, RunFailed
from tests.engine import Engine, client_environ, running
from tests.gateway import GatewayProcess

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("notes") / "notes.txt"
    os.environ["BELUGA_FORKERS"] = str(path)
    yield path
    del os.environ["BELUGA_FORKERS"]


@pytest.fixture(scope="module")
def engine(broker: str, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("fork")
    with running(broker, folder, agents="tests.acceptance.forkers", groups=2) as engine:
        yield engine


@contextmanager
def surroundings(engine: Engine) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_environ(engine).items():
            patch.setenv(name, value)
        yield


def executed(notes: Path, run: str) -> Counter[str]:
    lines = [line.split() for line in notes.read_text().splitlines()]
    return Counter(name for of, name in lines if of == run)


def beluga(engine: Engine, *arguments: str, fails: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=engine.environ,
        timeout=60,
    )
    assert done.returncode == fails, done.stdout + done.stderr
    return json.loads((done.stderr if fails else done.stdout).strip().splitlines()[-1] if fails else done.stdout)


async def test_a_failed_run_is_forked_and_only_what_failed_runs_anew(engine: Engine, notes: Path) -> None:
    from tests.acceptance.forkers import LONG, forkers, heard, lengths, reported, said  # noqa: PLC0415 - needs its setting

    broken = notes.with_suffix(".broken")
    broken.touch()
    with surroundings(engine):
        async with connect() as client:
            run = await client.start(forkers, "to be or not", tags={"who": "me"})
            with pytest.raises(RunFailed):
                await run.result(timeout=60)
            broken.unlink()
            fork = await run.fork(reported, idempotency_key="again")
            expected = f"to-be-or-not: many 9 ({LONG})"
            assert await fork.result(timeout=60) == expected
            assert executed(notes, fork.id) == {"report": 1}
            assert (await run.fork(reported, idempotency_key="again")).id == fork.id
            status = await fork.status()
            assert (status.forked_from, status.tags) == (run.id, {"who": "me"})
            assert await fork.outputs(lengths) == [2, 2, 2, 3]
            chunks = [event.value async for event in fork.stream() if isinstance(event, Chunk)]
            assert chunks == ["to", "be", "or", "not"]

            other = await fork.fork(heard)
            assert await other.result(timeout=60) == expected
            assert executed(notes, other.id) == {"hear": 1, "report": 1}

            edited = await fork.fork(lengths, input=["a", "bc"])
            assert await edited.result(timeout=60) == f"to-be-or-not: few 3 ({LONG})"
            assert executed(notes, edited.id) == {"length": 2, "few": 1, "report": 1}

            part = await fork.fork(reported, input={"heard": "nothing"})
            assert await part.result(timeout=60) == f"nothing: many 9 ({LONG})"

            first = await fork.fork(said, input="all anew")
            assert await first.result(timeout=60) == f"all-anew: few 7 ({LONG})"
            assert executed(notes, first.id) == {"words": 1, "length": 2, "hear": 1, "few": 1, "report": 1}

            with pytest.raises(InvalidInput, match="item 0"):
                await fork.fork(lengths, input=[{}])
            with pytest.raises(NotFound, match="has no node 'nowhere'"):
                await fork.fork("nowhere")
            with pytest.raises(InvalidInput, match="whole node"):
                await fork.fork("length[1]")
            with pytest.raises(InvalidState, match="skipped"):
                await fork.fork("few")
            with pytest.raises(NotFound, match="no run"):
                await client.run(forkers, "0" * 32).fork("report")


async def test_a_fork_over_http_and_by_the_command_line(engine: Engine, notes: Path) -> None:
    from tests.acceptance.forkers import LONG, forkers  # noqa: PLC0415 - needs its setting

    gateway = GatewayProcess(engine)
    gateway.start()
    try:
        with surroundings(engine):
            async with connect(gateway.url) as client:
                run = await client.start(forkers, "one two")
                expected = await run.result(timeout=60)
                fork = await run.fork("hear", input=["three"])
                assert await fork.result(timeout=60) == f"three: few 6 ({LONG})"
                assert executed(notes, fork.id) == {"hear": 1, "report": 1}
                assert (await fork.status()).forked_from == run.id
                with pytest.raises(NotFound, match="has no node"):
                    await run.fork("nowhere")
                with pytest.raises(InvalidState, match="skipped"):
                    await run.fork("many")
            async with connect(gateway.url) as client, ClientSession() as session:
                before = await client.list()
                wrong = {"node": "length", "input": ["one", {"two": 2}]}
                async with session.post(f"{gateway.url}/v1/runs/{run.id}/fork", json=wrong) as answer:
                    problem = await answer.json()
                assert (answer.status, problem["code"], problem["ids"]["place"]) == (422, "invalid_input", "1")
                assert await client.list() == before, "nothing was started"
    finally:
        assert gateway.stop() == 0, gateway.tail

    told = beluga(engine, "runs", "fork", run.id, "--from", "report", "--input", '{"heard": "cli"}', "--key", "k")
    assert told["forked_from"] == run.id
    assert (
        beluga(engine, "runs", "fork", run.id, "--from", "report", "--input", '{"heard": "cli"}', "--key", "k") == told
    )
    with surroundings(engine):
        async with connect() as client:
            assert await client.run(forkers, told["run"]).result(timeout=60) == f"cli: few 6 ({LONG})"
            assert expected == f"one-two: few 6 ({LONG})"
    shown = beluga(engine, "runs", "show", told["run"])
    assert (shown["forked_from"], shown["trigger"]) == (run.id, "fork")
    assert beluga(engine, "runs", "fork", run.id, "--from", "nowhere", fails=3)
    wrong_input = ("--from", "report", "--input", '{"size": {"how": "big"}}')
    refused = beluga(engine, "runs", "fork", run.id, *wrong_input, fails=2)
    assert "the input does not fit node 'report': size: " in json.dumps(refused)
