"""The real command as a subprocess, against a broker and an engine that run."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from beluga_stream.adapters.embedded.broker import EmbeddedBroker, free_port
from tests.admitted import login

ROOT = Path(__file__).resolve().parents[2]
BELUGA = [sys.executable, "-m", "beluga_stream.cli"]

GRAPHS = """
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from beluga_stream import Graph, Retry, Signal, Topic, node

MENDED = Path({mended!r})


async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield f"the word {{word}} of this text"
        await asyncio.sleep(0.01)


def count(words: list[str]) -> int:
    return len(words)


@node(retry=Retry(1))
def fragile(number: int) -> int:
    if not MENDED.exists():
        raise RuntimeError("not mended yet")
    return number + 1


@node(retry=Retry(1), timeout=0.2)
async def hurried(number: int) -> int:
    await asyncio.sleep(0.6)
    return number * 2


async def forever(number: int) -> int:
    await asyncio.sleep(3600)
    return number


talk = Graph[str, int]("talk")
talk.set_finish_point(talk.add_node(count, talk.add_node(words, talk.input)))
talk.trigger(Topic("{topic}", str))

breaks = Graph[int, int]("breaks")
breaks.set_finish_point(breaks.add_node(fragile, breaks.input))

rushed = Graph[int, int]("rushed")
rushed.set_finish_point(rushed.add_node(hurried, rushed.input))

stuck = Graph[int, int]("stuck")
stuck.set_finish_point(stuck.add_node(forever, stuck.input))

asks = Graph[int, int]("asks")
asks.set_finish_point(asks.wait(Signal("answer", int), after=asks.input, timeout=3600))
"""

TRIGGERED = """
from beluga_stream import Graph, Topic


def keeps(note: str) -> str:
    return note


noted = Graph[str, str]("noted")
noted.set_finish_point(noted.add_node(keeps, noted.input))
noted.trigger(Topic("{topic}", str))
"""

NARROWER = """
from beluga_stream import Graph


def fragile(number: bool) -> int:
    return int(number)


breaks = Graph[bool, int]("breaks")
breaks.set_finish_point(breaks.add_node(fragile, breaks.input))
"""


@dataclass
class Deployment:
    """A deployment with an engine, and the command line that talks to it."""

    environ: dict[str, str]
    topic: str
    mended: Path

    def run(self, *words: str, code: int = 0, stdin: str | None = None) -> str:
        """Run the command; standard output, or standard error when it is to fail."""
        done = subprocess.run(
            [*BELUGA, *words],
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=stdin,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def lines(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*words, "--json").splitlines()]


@pytest.fixture(scope="module")
def deployed(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """An engine with the graphs above, started as anybody starts one."""
    folder = tmp_path_factory.mktemp("deployment")
    prefix = f"t-{uuid.uuid4().hex[:10]}"
    topic, mended = f"{prefix}.texts", folder / "mended"
    for name in ("agents", "topics"):
        (folder / name).mkdir()
    (folder / "agents" / "graphs.py").write_text(GRAPHS.format(topic=topic, mended=str(mended)))
    (folder / "topics" / "topics.yaml").write_text(f"topics: [{{name: {topic}, partitions: 2}}]\n")
    environ = os.environ | {
        "BELUGA_BROKER": broker,
        "BELUGA_PREFIX": prefix,
        "BELUGA_AGENTS": str(folder / "agents"),
        "BELUGA_TOPICS": str(folder / "topics"),
        "BELUGA_DATA": str(folder / "data"),
        "BELUGA_BLOBS": str(folder / "blobs"),
        "COLUMNS": "160",
    }
    deployment = Deployment(environ | login(environ, ["operator"], ROOT), topic, mended)
    deployment.run("topics", "apply")
    with (folder / "engine.log").open("wb") as log:
        engine = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "-l", "warn"],
            env=environ | login(environ, ["coordinator", "worker", "ingest"], ROOT),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield deployment
    finally:
        engine.terminate()
        try:
            engine.wait(30)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
        asyncio.run(_delete_topics(broker, prefix))


async def _delete_topics(broker: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        mine = [name for name in await admin.list_topics() if name.startswith(prefix)]
        await admin.delete_topics(mine)
    finally:
        await admin.close()


def eventually(look: Callable[[], Any], within: float = 20.0) -> Any:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


# ----------------------------------------------------------------------------------------------- runs
def test_a_run_streams_and_prints_its_result(deployed: Deployment) -> None:
    said = deployed.run("run", "talk", '"one two three"', "--tag", "from=tests")
    assert said.count("words │ the word") == 3
    assert "✓ words  3 chunks" in said
    assert said.rstrip().endswith("3")
    events = deployed.lines("run", "talk", '"one two"')
    assert [event["value"] for event in events if event["type"] == "chunk"] == [
        "the word one of this text",
        "the word two of this text",
    ]
    assert events[-1] | {"cursor": "", "at_ms": 0, "run": "", "digest": ""} == {
        "type": "run", "run": "", "cursor": "", "at_ms": 0, "digest": "", "status": "succeeded", "output": 2,
    }  # fmt: skip
    (listed,) = deployed.json("runs", "list", "--tag", "from=tests")
    assert (listed["graph"], listed["status"]) == ("talk", "succeeded")


def test_a_run_is_watched_again_and_after_a_cursor(deployed: Deployment) -> None:
    run = deployed.run("run", "talk", "-", "--no-wait", "--key", "k1", stdin='"a b c d"').strip()
    assert deployed.run("run", "talk", '"a b c d"', "--no-wait", "--key", "k1").strip() == run
    events = deployed.lines("watch", run)
    chunks = [event for event in events if event["type"] == "chunk"]
    assert len(chunks) == 4
    rest = deployed.lines("watch", run, "--after", chunks[1]["cursor"])
    assert [event["value"] for event in rest if event["type"] == "chunk"] == [chunk["value"] for chunk in chunks[2:]]
    for after in (events[-1]["cursor"], "live"):
        assert deployed.run("watch", run, "--after", after).rstrip() == "4"
        assert deployed.lines("watch", run, "--after", after) == []
    shown = deployed.json("runs", "show", run)
    assert (shown["output"], shown["nodes"][0]["node"]) == (4, "words")
    assert len(deployed.json("runs", "show", run, "--node", "words")) == 4
    assert run in deployed.run("runs", "show", run)


def test_values_that_nobody_can_want_are_swept(deployed: Deployment) -> None:
    large = json.dumps("x" * 70_000)
    assert deployed.run("run", "talk", "-", "--key", "large", stdin=large).rstrip().endswith("1")
    run = deployed.run("run", "talk", "-", "--key", "large", "--no-wait", stdin=large).strip()
    stored = list(Path(deployed.environ["BELUGA_BLOBS"], run).iterdir())
    assert deployed.json("blobs", "sweep")["removed"] == 0
    assert stored
    for blob in stored:
        os.utime(blob, (0, 0))
    assert deployed.json("blobs", "sweep")["removed"] == len(stored)
    assert "was it swept" in deployed.run("runs", "show", run, "--node", "words", code=3)
    assert deployed.json("runs", "show", run)["output"] == 1


def test_refusals_have_their_codes(deployed: Deployment) -> None:
    assert "no graph 'nobody'" in deployed.run("run", "nobody", "1", code=3)
    assert "does not fit graph 'talk'" in deployed.run("run", "talk", "1", code=2)
    assert "there is no run nope" in deployed.run("runs", "show", "nope", code=3)
    assert "there is no run nope" in deployed.run("watch", "nope", code=3)
    assert "does not exist" in deployed.run("publish", "no.such.topic", "1", code=3)


def test_a_failed_run_is_retried(deployed: Deployment) -> None:
    error = deployed.run("run", "breaks", "1", "--tag", "case=retry", code=1)
    assert "not mended yet" in error
    assert "beluga runs retry" in error
    (run,) = [run["run"] for run in deployed.json("runs", "list", "--status", "failed", "--tag", "case=retry")]
    assert "not mended yet" in deployed.run("watch", run, "--after", "live", code=1)
    deployed.mended.touch()
    deployed.run("runs", "retry", run)
    eventually(lambda: deployed.json("runs", "show", run)["status"] == "succeeded")
    assert "only a failed run" in deployed.run("runs", "retry", run, code=1)


def test_a_node_that_has_too_little_time_is_overridden_and_the_run_retried(deployed: Deployment) -> None:
    deployed.run("run", "rushed", "3", "--tag", "case=override", code=1)
    (run,) = [run["run"] for run in deployed.json("runs", "list", "--status", "failed", "--tag", "case=override")]
    assert deployed.json("runs", "show", run)["overrides"] == {}
    assert f"run {run} has no node 'nowhere'" in deployed.run(
        "runs", "override", run, "nowhere", "--attempts", "2", code=3
    )
    assert "no run nope" in deployed.run("runs", "override", "nope", "hurried", "--attempts", "2", code=3)

    told = deployed.json("runs", "override", run, "hurried", "--timeout", "60", "--attempts", "2")
    assert told == {"run": run, "node": "hurried", "timeout_ms": 60_000, "attempts": 2}
    wanted = {"hurried": {"timeout_ms": 60_000, "attempts": 2}}
    eventually(lambda: deployed.json("runs", "show", run)["overrides"] == wanted)
    assert "hurried is overridden: a timeout of 60 s and 2 attempts" in deployed.run("runs", "show", run)
    deployed.run("runs", "retry", run)
    eventually(lambda: deployed.json("runs", "show", run)["status"] == "succeeded")
    assert deployed.json("runs", "show", run)["output"] == 6
    assert "nothing to override" in deployed.run("runs", "override", run, "hurried", "--attempts", "2", code=1)


def test_a_run_that_goes_on_times_out_and_is_cancelled(deployed: Deployment) -> None:
    error = json.loads(deployed.run("run", "stuck", "1", "--timeout", "1", "--json", code=4))["error"]
    assert error["code"] == "timeout"
    run = error["ids"]["run"]
    (reason,) = deployed.json("runs", "show", run)["waits"]
    assert (reason["node"], reason["on"]) in (("forever", "worker"), ("forever", "lease"))
    assert "forever waits for" in deployed.run("runs", "show", run)
    assert run in [each["run"] for each in deployed.json("runs", "stuck", "--all")]
    deployed.run("runs", "cancel", run, "--reason", "enough")
    eventually(lambda: deployed.json("runs", "show", run)["status"] == "cancelled")
    assert "nothing to cancel" in deployed.run("runs", "cancel", run, code=1)


def test_ctrl_c_ends_the_command_and_says_that_the_run_goes_on(deployed: Deployment) -> None:
    command = [*BELUGA, "run", "stuck", "1"]
    with subprocess.Popen(
        command, env=deployed.environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        run = running.stdout.readline().split()[-1]
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
        assert (
            running.stderr.read() == f"beluga: run {run} goes on: `beluga watch {run}`, or `beluga runs cancel {run}`\n"
        )
    deployed.run("runs", "cancel", run)


def test_what_a_run_waits_for_is_told_and_nothing_is_stuck_that_need_not_be(deployed: Deployment) -> None:
    run = json.loads(deployed.run("run", "asks", "1", "--timeout", "1", "--json", code=4))["error"]["ids"]["run"]
    (reason,) = deployed.json("runs", "show", run)["waits"]
    assert (reason["on"], reason["what"]) == ("signal", "signal 'answer'")
    assert reason["due_ms"] > reason["since_ms"]
    assert "signal 'answer'" in deployed.run("runs", "stuck", "--all")
    assert run not in [each["run"] for each in deployed.json("runs", "stuck")]
    deployed.run("runs", "signal", run, "answer", "42")
    eventually(lambda: deployed.json("runs", "show", run)["status"] == "succeeded")
    assert deployed.json("runs", "show", run)["waits"] == []


# ---------------------------------------------------------------------------------------------- events
def test_an_event_starts_a_run_once(deployed: Deployment) -> None:
    for _ in range(2):
        words = ["--cloudevent", "--id", "e1", "--source", "tests", "--key", "k"]
        deployed.run("publish", deployed.topic, '"by event"', *words)

    def started() -> list[Any]:
        shown = [deployed.json("runs", "show", run["run"]) for run in deployed.json("runs", "list")]
        return [run for run in shown if run["trigger"] == deployed.topic and run["status"] == "succeeded"]

    (run,) = eventually(started)
    assert run["output"] == 2


def test_dead_letters_are_replayed_and_discarded(deployed: Deployment) -> None:
    deployed.run("publish", deployed.topic, '{"no": "text"}')

    def letters() -> Any:
        return deployed.json("dead-letters", "list")

    (letter,) = eventually(letters)
    assert (letter["reason"], letter["handled"]) == ("invalid_input", None)
    assert "valid string" in deployed.run("dead-letters", "show", letter["id"])
    deployed.run("dead-letters", "replay", letter["id"])
    (again,) = eventually(lambda: [other for other in letters() if other["id"] != letter["id"]])
    deployed.run("dead-letters", "discard", again["id"])
    assert letters() == []
    assert len(deployed.json("dead-letters", "list", "--handled")) == 2


# ------------------------------------------------------------------------------------------ operations
def test_graphs_and_topics_are_shown(deployed: Deployment) -> None:
    assert [graph["graph"] for graph in deployed.json("graph", "list")] == ["asks", "breaks", "rushed", "stuck", "talk"]
    published = eventually(lambda: deployed.json("graph", "list", "--broker", deployed.environ["BELUGA_BROKER"]))
    assert {graph["graph"] for graph in published} == {"asks", "breaks", "rushed", "stuck", "talk"}
    assert "words stream" in deployed.run("graph", "show", "talk")
    assert deployed.run("graph", "show", "talk", "--mermaid").startswith("flowchart TD")
    listed = {
        topic["topic"].removeprefix(deployed.environ["BELUGA_PREFIX"]): topic
        for topic in deployed.json("topics", "list")
    }
    assert {topic["state"] for topic in listed.values()} == {"ok"}
    assert listed["-coordinator-runs-changelog"]["config"]["cleanup.policy"] == "compact"
    assert deployed.json("topics", "apply")["created"] == []


def test_doctor_finds_what_is_wrong(deployed: Deployment) -> None:
    def checked() -> dict[str, bool | None]:
        return {finding["check"]: finding["ok"] for finding in deployed.json("doctor")} | {"fencing": None}

    eventually(lambda: checked()["processes"], within=60)
    assert checked() == {
        "versions": True, "large values": True, "deployment": True, "broker": True, "topics": True, "kept": True,
        "partitions": True, "processes": True, "fencing": None,
    }  # fmt: skip
    elsewhere = deployed.environ | {"BELUGA_PREFIX": "nobody-has-this"}
    other = Deployment(elsewhere | login(elsewhere, ["operator"], ROOT), "", Path())
    said = other.run("doctor", code=1)
    assert said.rstrip().endswith("checks failed: topics"), "that no process is there is a remark"


# --------------------------------------------------------------------------------------- demo and dev
@pytest.mark.slow
def test_the_demo_runs_and_leaves_nothing(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BELUGA_")}
    environ |= {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*BELUGA, "demo", "--write-name", "Zebulon Quimby", "--json"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *shown, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["type"] for each in shown].count("chunk") == 144
    assert [each["type"] for each in shown].count("line") == 144
    assert sum(story["narrated_early"] for story in summary["stories"]) > 0, (
        "digests are narrated while they are written"
    )
    assert len(summary["stories"]) == summary["indexed"] == 12
    assert "Zebulon Quimby" in summary["stories"][0]["people"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dev_restarts_on_a_change_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    for name in ("agents", "topics"):
        (tmp_path / name).mkdir()
    graph = tmp_path / "agents" / "graphs.py"
    graph.write_text("from beluga_stream import Graph\n\n\ndef inc(n: int) -> int:\n    return n + 1\n\n\n"
                     "one = Graph[int, int]('one')\none.set_finish_point(one.add_node(inc, one.input))\n")  # fmt: skip
    (tmp_path / "agents" / "plain.py").write_text(
        "from beluga_stream import app\n\nseen = app.Table('seen', default=int, partitions=4)\n\n\n"
        "@app.agent(app.topic('clicks', value_type=str))\nasync def count(clicks):\n    async for click in clicks:\n"
        "        seen[click] += 1\n        open('counted', 'w').write(f'{click} {seen[click]}')\n\n\n"
        "@app.timer(0.5)\nasync def visit():\n    await count.send(key='home', value='home')\n"
    )
    (tmp_path / "topics" / "topics.yaml").write_text("topics: [{name: clicks}]\n")
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BELUGA_")}
    environ |= {"PYTHONPATH": str(ROOT), "BELUGA_HTTP_ADDRESS": "127.0.0.1:0"}
    with (tmp_path / "dev.log").open("wb") as log:
        dev = subprocess.Popen([*BELUGA, "dev", "--port", str(port)], cwd=tmp_path, env=environ, stdout=log, stderr=log)

    def said(words: str) -> Callable[[], bool]:
        return lambda: words in (tmp_path / "dev.log").read_text()

    def command(*words: str) -> str:
        words = (*words, "--broker", f"127.0.0.1:{port}")
        done = subprocess.run(
            [*BELUGA, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def run() -> str:
        return (command("run", "one", "1", "--timeout", "30").splitlines() or [""])[-1]

    def counted() -> int:
        """How often plain Faust, which a file adds to the engine's app, has counted in its table."""
        told = tmp_path / "counted"
        return int((told.read_text() if told.exists() else "").rpartition(" ")[2] or 0)

    try:
        eventually(said("engine running"), within=60)
        eventually(lambda: run() == "2", within=60)
        eventually(lambda: counted() > 1, within=60)
        assert "✓ deployment" in command("doctor")
        (page,) = re.findall(r"runs at (http://127.0.0.1:\d+)", (tmp_path / "dev.log").read_text())
        with urlopen(f"{page}/v1/runs?graph=one&newest=true", timeout=30) as response:
            assert json.load(response)["runs"][0]["status"] == "succeeded"
        graph.write_text(graph.read_text().replace("n + 1", "n + 41"))
        eventually(said("engine restarting"), within=60)
        eventually(lambda: run() == "42", within=60)
        before = counted()
        eventually(lambda: counted() > before, within=60)
        (engine,) = (each for each in psutil.Process(dev.pid).children() if "faust" in each.cmdline())
        engine.kill()
        eventually(said("ended with code -9; starts again in 5 s"), within=60)
        eventually(lambda: run() == "42", within=60)
        children = psutil.Process(dev.pid).children(recursive=True)
        dev.send_signal(signal.SIGINT)
        assert dev.wait(30) == 0
        assert not [child for child in children if child.is_running()]
    finally:
        dev.terminate()  # a dev that is killed cannot stop its children
        dev.wait(30)


@pytest.mark.slow
def test_a_new_project_does_what_its_readme_says(tmp_path: Path) -> None:
    subprocess.run([*BELUGA, "init", "shop"], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    project, port = tmp_path / "shop", free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BELUGA_")}
    environ |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"}
    environ |= {"BELUGA_HTTP_ADDRESS": "127.0.0.1:0"}
    lines = re.findall(r"^    (.*)$", (project / "README.md").read_text(), re.MULTILINE)
    here, dev, run, publish, listing, test = (line.partition("  #")[0].strip() for line in lines)
    assert dev == "beluga dev"

    def said(command: str) -> str:
        shell = ["bash", "-c", re.sub(r"^beluga", shlex.join(BELUGA), command)]
        to = environ | {"BELUGA_BROKER": f"127.0.0.1:{port}"}
        done = subprocess.run(shell, cwd=project, env=to, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with (tmp_path / "dev.log").open("wb") as log:
        developing = subprocess.Popen(
            [*BELUGA, "dev", "--port", str(port)], cwd=project, env=environ, stdout=log, stderr=log
        )
    try:
        assert said(here) == "TO BE / OR NOT TO BE (To, Or)\n"
        eventually(lambda: "engine running" in (tmp_path / "dev.log").read_text(), within=60)
        assert said(run).splitlines()[-1] == '"TO BE / OR NOT TO BE (To, Or)"'
        assert said(publish).startswith("notes.submitted/")
        eventually(lambda: said(listing).count("succeeded") == 2)
        assert " passed" in said(test)
    finally:
        developing.send_signal(signal.SIGINT)
        assert developing.wait(30) == 0


def test_the_embedded_broker_starts_and_stops() -> None:
    with EmbeddedBroker() as broker:
        assert broker.is_running
        pid = broker.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not broker.is_running


def test_its_program_may_belong_to_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package was installed by root."""

    def refused(path: Path, _: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refused)
    with EmbeddedBroker() as broker:
        assert broker.is_running


# ---------------------------------------------------------------------------------------------- types
def test_types_are_compared_with_the_graphs_that_are_published(deployed: Deployment, tmp_path: Path) -> None:
    deployed.run("run", "talk", '"one"')  # so that an engine has published them
    said = deployed.run("topics", "check")
    assert said.count("✓") == 10, said
    assert "asks signal answer  not compared" in said
    assert "nothing of topics and chunks" in " ".join(said.split())

    (tmp_path / "graphs.py").write_text(NARROWER)
    said = deployed.run("topics", "check", "--agents", str(tmp_path), code=1)
    assert "1 of 2 are not compatible: breaks input" in said
    deployed.run("topics", "check", "--agents", str(tmp_path), "--accept", "breaks input")


def test_topics_that_only_the_code_names_are_made_too(deployed: Deployment, tmp_path: Path) -> None:
    topic = f"{deployed.environ['BELUGA_PREFIX']}.noted"
    (tmp_path / "graphs.py").write_text(TRIGGERED.format(topic=topic))
    environ = {**deployed.environ, "BELUGA_AGENTS": str(tmp_path)}
    here = Deployment(environ | login(environ, ["operator"], tmp_path), deployed.topic, deployed.mended)
    stands = {each["topic"]: each["state"] for each in here.json("topics", "list")}
    assert stands[topic] == "missing"
    assert here.json("topics", "apply")["created"] == [topic]
    assert {each["topic"]: each["state"] for each in here.json("topics", "list")}[topic] == "ok"


def test_types_cannot_be_compared_where_no_graph_is_published(deployed: Deployment) -> None:
    prefix = f"{deployed.environ['BELUGA_PREFIX']}.x"
    nobody = Deployment(deployed.environ | {"BELUGA_PREFIX": prefix}, deployed.topic, deployed.mended)
    assert "beluga" in nobody.run("topics", "check", code=3)
