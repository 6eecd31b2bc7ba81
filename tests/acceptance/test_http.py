"""The gateway as a process, against a broker and an engine that run, with curl alone."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import connect
from beluga_stream.adapters.http.sse import Parser, Sent
from tests.acceptance.tellers import teller
from tests.engine import Engine, client_environ, running
from tests.gateway import GatewayProcess

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = "60"
_JSON = ("-H", "Content-Type: application/json")


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("http")
    with running(broker, folder, agents="tests.acceptance.tellers", groups=2) as engine:
        yield engine


@pytest.fixture
def gateway(engine: Engine) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(engine)
    gateway.start()
    yield gateway
    assert gateway.stop() == 0, gateway.tail


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", _SECONDS, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def start(gateway: GatewayProcess, words: int) -> str:
    told = curl(*_JSON, "-d", json.dumps({"input": words}), f"{gateway.url}/v1/graphs/teller/runs")
    return str(json.loads(told)["run"])


def follow(url: str, after: str | None = None) -> Iterator[Sent]:
    """The events of a stream, as curl gets them, until its connection ends or the caller has enough."""
    more = () if after is None else ("-H", f"Last-Event-ID: {after}")
    command = ["curl", "--silent", "--no-buffer", "--max-time", _SECONDS, *more, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        parser = Parser()
        try:
            while data := process.stdout.read(1_000):
                yield from parser.feed(data)
        finally:
            process.kill()


def words_of(events: list[Sent]) -> list[Any]:
    return [json.loads(event.data)["value"] for event in events if event.event == "chunk"]


def test_curl_alone_starts_a_run_follows_it_and_cancels_another(gateway: GatewayProcess) -> None:
    run, other = start(gateway, 20), start(gateway, 100_000)
    events = list(follow(f"{gateway.url}/v1/runs/{run}/events"))
    assert words_of(events) == [f"word-{number}" for number in range(20)]
    assert events[-1].event == "end"
    assert json.loads(events[-2].data)["output"].split() == words_of(events)

    assert json.loads(curl(*_JSON, "-d", '{"reason": "enough"}', f"{gateway.url}/v1/runs/{other}/cancel"))
    *_, ended, last = follow(f"{gateway.url}/v1/runs/{other}/events")
    assert json.loads(last.data) == {"status": "cancelled"}
    assert json.loads(ended.data)["error"]["message"] == "enough"
    assert json.loads(curl(f"{gateway.url}/v1/runs/{other}"))["status"] == "cancelled"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_reader_sees_all_once_and_in_order_across_cuts_and_a_restart(engine: Engine, how: str) -> None:
    """Reads as `EventSource` does: connects again after each end, with the last id."""
    gateway = GatewayProcess(engine)
    gateway.start()
    try:
        run = start(gateway, 60)
        url = f"{gateway.url}/v1/runs/{run}/events"
        seen: list[Sent] = []
        for event in follow(url):
            seen.append(event)
            if len(words_of(seen)) == 5:
                break  # the connection is cut
        for event in follow(url, seen[-1].id):
            seen.append(event)
            if len(words_of(seen)) == 15:
                gateway.stop() if how == "stop" else gateway.kill()
        seen = [event for event in seen if event.event != "live"]
        if how == "stop":
            assert seen.pop().event == "closing"
        assert 15 <= len(words_of(seen)) < 60, "the gateway ended in mid-stream"
        gateway.start()
        seen += follow(url, seen[-1].id)
    finally:
        gateway.stop()
    assert words_of(seen) == [f"word-{number}" for number in range(60)]
    assert json.loads(seen[-1].data) == {"status": "succeeded"}


async def test_the_client_is_the_same_over_http_and_kafka(
    engine: Engine, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    async with connect(gateway.url) as http, connect() as kafka:
        run = await http.start(teller, 10, idempotency_key="the same")
        assert (await kafka.start(teller, 10, idempotency_key="the same")).id == run.id
        assert await run.result(timeout=60) == " ".join(f"word-{number}" for number in range(10))
        theirs = kafka.run(teller, run.id)
        assert [event async for event in run.stream()] == [event async for event in theirs.stream()]
        assert await run.status() == await theirs.status()


def test_tokens_are_made_and_taken(engine: Engine, tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", "tokens", "new", "shop", "--scope", "read", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=engine.environ,
    )
    told = json.loads(made.stdout)
    file = tmp_path / "tokens"
    file.write_text(told["line"] + "\n")
    gateway = GatewayProcess(engine, token_file=str(file))
    gateway.start()
    try:
        assert json.loads(curl(f"{gateway.url}/v1/runs"))["status"] == 401
        shown = ("-H", f"Authorization: Bearer {told['token']}")
        assert "runs" in json.loads(curl(*shown, f"{gateway.url}/v1/runs"))
        refused = curl(*shown, *_JSON, "-d", '{"input": 1}', f"{gateway.url}/v1/graphs/teller/runs")
        assert json.loads(refused)["status"] == 403
        assert told["token"] not in gateway.tail
    finally:
        assert gateway.stop() == 0


def test_the_commands_on_runs_take_the_address_of_a_gateway(gateway: GatewayProcess) -> None:
    events = [json.loads(line) for line in _beluga(gateway, "run", "teller", "5", "--json").splitlines()]
    run = events[-1]["run"]
    assert [event["value"] for event in events if event["type"] == "chunk"] == [f"word-{number}" for number in range(5)]
    assert events[-1]["output"] == "word-0 word-1 word-2 word-3 word-4"

    watched = _beluga(gateway, "watch", run, "--json").splitlines()
    assert [json.loads(line) for line in watched] == events
    shown = json.loads(_beluga(gateway, "runs", "show", run, "--json"))
    assert (shown["status"], shown["output"]) == ("succeeded", events[-1]["output"])
    assert all(node["status"] == "succeeded" for node in shown["nodes"])
    assert run in {each["run"] for each in json.loads(_beluga(gateway, "runs", "list", "--json"))}

    other = json.loads(_beluga(gateway, "run", "teller", "100000", "--no-wait", "--json"))["run"]
    list(itertools.islice(follow(f"{gateway.url}/v1/runs/{other}/events"), 5))
    assert json.loads(_beluga(gateway, "runs", "show", other, "--json"))["status"] == "running"
    _beluga(gateway, "runs", "cancel", other, "--reason", "enough")
    assert "was cancelled: enough" in _beluga(gateway, "watch", other, code=1)
    assert "needs the broker itself" in _beluga(gateway, "runs", "stuck", code=2)


def _beluga(gateway: GatewayProcess, *words: str, code: int = 0) -> str:
    """A command that knows nothing but the gateway; what it prints, and if it is to fail what it complains of."""
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "BELUGA_BROKER": gateway.url},
        timeout=90,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout
