"""The command line without a broker: what it takes, how it ends, how it draws."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application.clients.results import Chunk, NodeChanged, RunChanged, Superseded
from beluga_stream.application.payloads import Payloads
from beluga_stream.bootstrap.rights import HOLDERS
from beluga_stream.cli import manual
from beluga_stream.cli.exits import code_of
from beluga_stream.cli.letters import Letter
from beluga_stream.cli.main import app
from beluga_stream.cli.runview import RunView
from beluga_stream.domain.state import RunStatus
from beluga_stream.errors import (
    BelugaError,
    Fenced,
    InvalidDeployment,
    InvalidInput,
    InvalidState,
    NotFound,
    RunFailed,
    RunRejected,
    TimedOut,
    TopicMissing,
)
from beluga_stream.ports.log import Record

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


# ---------------------------------------------------------------------------------------- how it ends
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("it failed"), 1),
        (InvalidState("no"), 1),
        (InvalidInput("no"), 2),
        (InvalidDeployment("no"), 2),
        (NotFound("no"), 3),
        (TopicMissing("no"), 3),
        (TimedOut("no"), 4),
        (Fenced("no"), 5),
        (RunRejected("no", reason="not_found"), 3),
        (RunRejected("no", reason="invalid_input"), 2),
        (RunRejected("no", reason="idempotency_conflict"), 1),
    ],
)
def test_exit_codes(error: BelugaError, code: int) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "g", "{no"], 2, "is not JSON"),
        (["run", "g", "text"], 2, "a string needs quotes"),
        (["run", "g", "1", "--file", "x"], 2, "given twice"),
        (["run", "g", "--file", "/no/such/file"], 2, "cannot be read"),
        (["run", "g", "1", "--tag", "x"], 2, "write it as name=value"),
        (["publish", "t"], 2, "nothing to publish"),
        (["dead-letters", "replay"], 2, "name one dead letter"),
        (["runs", "list", "--status", "sucess"], 2, "there is no status 'sucess'"),
        (["runs", "override", "r", "a"], 2, "an override of nothing"),
        (["runs", "override", "r", "a", "--timeout", "0"], 2, "a timeout of 0 s is out of range"),
        (["runs", "override", "r", "a", "--timeout", "-1"], 2, "a timeout of -1 s is out of range"),
        (["runs", "override", "r", "a", "--timeout", "nan"], 2, "the duration nan is out of range"),
        (["runs", "override", "r", "a", "--timeout", "inf"], 2, "the duration inf is out of range"),
        (["runs", "override", "r", "a", "--attempts", "0"], 2, "0 attempts are out of range"),
        (["acls", "nobody", "--user", "u"], 2, "there is no role 'nobody'"),
        (["graph", "validate", "--agents", "no_such_package"], 2, "neither a folder"),
        (["runs", "list", "--broker", "127.0.0.1:99999"], 2, "is not a Kafka address"),
        (["runs", "list", "--broker", "127.0.0.1:0"], 2, "is not a Kafka address"),
        (["runs", "list", "--broker", "http://[::1"], 2, "no address of a gateway"),
        (["serve", "--address", "127.0.0.1:99999"], 2, "ports end at 65535"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(words: list[str], code: int, said: str) -> None:
    result = runner.invoke(app, words)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    told = json.loads(runner.invoke(app, [*words, "--json"]).stderr)["error"]
    assert told["exit_code"] == code
    assert said in told["message"]


def test_help_names_every_status_and_every_role() -> None:
    """Their types take long to import, so help has the names themselves."""
    assert set(RunStatus) <= _words(["runs", "list", "--help"])
    assert set(HOLDERS) <= _words(["acls", "--help"])


def _words(command: list[str]) -> set[str]:
    return set(re.findall(r"\w+", runner.invoke(app, command, env={"COLUMNS": "200"}).stdout))


def test_a_user_whose_name_a_shell_would_split_stays_one_word() -> None:
    """A user that a certificate names has commas and spaces in it."""
    done = runner.invoke(app, ["acls", "worker", "--user", "CN=worker,O=Acme Inc", "--agents", JOINS])
    for line in done.stdout.splitlines():
        words = shlex.split(line)
        assert words[words.index("--allow-principal") + 1] == "User:CN=worker,O=Acme Inc"
    assert "--topic beluga.control" in done.stdout


@pytest.mark.timeout(20)  # the engine's processes wait for a broker, for half a minute and more
@pytest.mark.parametrize(
    "words",
    [
        ["run", "g", "1"],
        ["blobs", "sweep"],
        ["dead-letters", "list"],
        ["graph", "list"],
        ["runs", "list"],
        ["runs", "stuck"],
        ["topics", "check"],
    ],
    ids=" ".join,
)
def test_no_broker_is_code_5_and_said_at_once(words: list[str]) -> None:
    result = runner.invoke(app, [*words, "--broker", "127.0.0.1:1"])
    assert result.exit_code == 5
    assert "no Kafka broker answers at 127.0.0.1:1" in result.stderr
    assert "Error(" not in result.stderr


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = nothing\n")
    result = runner.invoke(app, ["graph", "validate", "--agents", str(tmp_path)])
    assert result.exit_code == 2
    assert "broken.py, line 2: NameError" in result.stderr


def test_a_graph_that_no_variable_of_a_module_holds_is_not_found_and_it_is_said_where_it_must_be(
    tmp_path: Path,
) -> None:
    (tmp_path / "main.py").write_text("from beluga_stream import Graph\n\n\ndef main():\n    Graph[str, str]('a')\n")
    done = runner.invoke(app, ["graph", "validate", "--agents", str(tmp_path)])
    assert "has no graphs: each is a variable at the top of one of its files" in " ".join(done.stdout.split())


def test_a_wait_that_its_run_does_not_live_to_see_the_end_of_is_warned_of(tmp_path: Path) -> None:
    text = """
from beluga_stream import Graph, Signal

short = Graph[int, int]("short")
short.set_finish_point(short.wait(Signal("decision", int), timeout=7200))
long = Graph[int, int]("long", timeout=10_000)
long.set_finish_point(long.wait(Signal("decision", int), timeout=7200))
"""
    (tmp_path / "main.py").write_text(text)
    done = runner.invoke(app, ["graph", "validate", "--agents", str(tmp_path)])
    assert done.exit_code == 0
    told = " ".join(done.stdout.split())
    assert "decision of short may take 120.0 min, and a run of that graph fails after 10.0 min" in told
    assert "decision of long" not in told
    as_json = runner.invoke(app, ["graph", "validate", "--json", "--agents", str(tmp_path)])
    assert json.loads(as_json.stdout)["cut_short"] == ["short/decision"]


def test_what_may_be_left_out_is_in_brackets_once() -> None:
    usage = " ".join(runner.invoke(app, ["run", "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert " [JSON|-] " in usage
    assert "[[" not in usage


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_DEBUG", "1")
    result = runner.invoke(app, ["run", "g", "{no"])
    assert isinstance(result.exception, InvalidInput)


# ------------------------------------------------------------------------------------------ its manual
def test_every_command_has_an_example_and_takes_json() -> None:
    sections = manual.page().split("\n## ")[1:]
    assert len(sections) >= 19
    for section in sections:
        name = section.partition("\n")[0]
        assert "```sh\nbeluga " in section, f"{name} has no example"
        assert "`--json`" in section, f"{name} takes no --json"


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == manual.page(), "run: python -m beluga_stream.cli.manual > docs/cli.md"


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("beluga ")


def test_help_is_light() -> None:
    """What takes time to import is not imported for --help."""
    heavy = ("faust", "aiokafka", "pydantic", "networkx", "temporalio", "watchfiles")
    code = (
        "import sys; sys.argv = ['beluga', '--help']\n"
        "from beluga_stream.cli.main import run\n"
        "try: run()\n"
        f"except SystemExit: print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "LOADED []" in done.stdout


# --------------------------------------------------------------------------------------------- drawing
def shown(view: RunView) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(view.tree())
    console.file.close()
    return console.export_text()


def test_a_run_as_a_tree() -> None:
    view = RunView("r1", "stories")
    said = view.apply(RunChanged(cursor="0-1", at_ms=1_000, status="running"))
    said += view.apply(NodeChanged(cursor="0-2", at_ms=1_000, node="split", status="ready", attempt=1))
    said += view.apply(NodeChanged(cursor="0-3", at_ms=1_120, node="split", status="succeeded", attempt=2))
    for item in range(3):
        view.apply(NodeChanged(cursor="0-4", at_ms=1_200, node=f"outline[{item}]", status="succeeded", attempt=1))
    said += view.apply(RunChanged(cursor="0-9", at_ms=3_500, status="succeeded"))
    assert [line.plain for line in said] == [
        "● running  stories r1",
        "✓ split  attempt 2  120 ms",
        "✓ succeeded  stories r1",
    ]
    tree = shown(view)
    assert re.search(r"✓ succeeded\s+stories r1\s+2.5 s", tree)
    assert re.search(r"outline\s+3/3", tree)


def test_sentences_are_lines_and_tokens_gather() -> None:
    view = RunView("r1")

    def chunk(value: object, seq: int) -> list[str]:
        event = Chunk(cursor="0-1", node="say", attempt=1, incarnation="a", seq=seq, value=value)
        return [line.plain for line in view.apply(event)]

    assert chunk("This is a whole sentence.", 0) == ["say │ This is a whole sentence."]
    assert chunk("To", 1) == []
    assert chunk("kens", 2) == []
    assert chunk({"n": 1}, 3) == ["say │ Tokens", 'say │ { "n": 1 }']
    chunk("half", 4)
    (line,) = view.apply(Superseded(cursor="0-2", node="say", attempt=2, incarnation="b"))
    assert "starts again" in line.plain
    assert chunk("x\n", 0) == ["say │ x"]


# ---------------------------------------------------------------------------------------- dead letters
async def test_a_letter_goes_back_as_it_came() -> None:
    headers = (("ce_id", b"7"), ("beluga-reason", b"invalid_input"), ("beluga-source", b"a/b.c/2/17"))
    letter = Letter(Record("beluga.dead-letters", 1, 5, b"a/b.c/2/17", b"{}", headers=headers), None)
    again = await letter.again(Payloads(MemoryBlobs()))
    assert (letter.id, letter.reason) == ("1-5", "invalid_input")
    assert (again.topic, again.key, again.value, again.headers) == ("a/b.c", None, b"{}", (("ce_id", b"7"),))


def test_a_letter_without_a_source_cannot_go_back() -> None:
    with pytest.raises(InvalidState, match="where it came from"):
        _ = Letter(Record("beluga.dead-letters", 1, 5, b"k", b"{}"), None).topic


# ---------------------------------------------------------------------------------------- triggers
JOINS = str(ROOT / "tests" / "integration" / "join_agents")


def _triggers(*arguments: str) -> object:
    done = runner.invoke(app, ["triggers", *arguments, "--agents", JOINS, "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_triggers_are_listed_with_what_they_wait_for() -> None:
    listed = _triggers("list")
    assert isinstance(listed, list)
    found = {each["graph"]: each for each in listed}
    assert found["whole"]["kind"] == "join"
    assert found["whole"]["by"].endswith("within 20.0 s, lateness 5.0 s; missing: graph part")
    assert found["many"]["by"].startswith("3 events of beluga.many")
    assert found["settled"]["kind"] == "burst"
    assert found["yearly"]["next"].endswith("-01-01T00:00:00+01:00")
    assert found["noted"]["by"] == "each event of beluga.docs"


def test_a_trial_event_shows_what_it_would_start() -> None:
    (told,) = _triggers("test", "beluga.docs", '{"key": "k", "n": 3}')  # type: ignore[misc]
    assert told["does"] == "starts a run"
    assert told["input"] == {"key": "k", "n": 3}
    (told,) = _triggers("test", "beluga.docs", '{"key": "k", "n": -3}')  # type: ignore[misc]
    assert told["why"] == "where= does not pick it"
    (told,) = _triggers("test", "beluga.docs", '{"key": "k"}')  # type: ignore[misc]
    assert told["does"] == "goes to the dead letters"
    assert "n: Field required" in told["why"]
    header = [
        "--header",
        "ce_specversion=1.0",
        "--header",
        "ce_id=7",
        "--header",
        "ce_source=s",
        "--header",
        "ce_type=t",
    ]
    (told,) = _triggers("test", "beluga.a", '{"key": "k", "n": 3}', *header, "--header", "ce_time=2026-01-01T00:00:05Z")  # type: ignore[misc]
    assert (told["does"], told["key"]) == ("waits for others", "k")
    assert "open until" in told["window"]


def test_a_trial_event_of_a_topic_that_starts_nothing_says_what_would() -> None:
    done = runner.invoke(app, ["triggers", "test", "beluga.x", "1", "--agents", JOINS])
    assert done.exit_code == 3
    assert (
        "there is no topic 'beluga.x' that triggers a graph: is 'beluga.c' meant? There are beluga.a, " in done.stderr
    )
