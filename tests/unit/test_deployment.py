"""What is in agents/ and topics/ loads under one name, and what does not load is named by file and line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beluga_stream.bootstrap import deployment
from beluga_stream.bootstrap.declared import engine_topics
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.bootstrap.topic_files import load_topics
from beluga_stream.errors import InvalidDeployment

_GRAPH = """
from beluga_stream import Graph
async def double(number: int) -> int:
    return 2 * number
{name} = Graph[int, int]("{title}")
{name}.set_finish_point({name}.add_node(double, {name}.input))
"""


def _agents(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder)


@contextmanager
def _as_somebody() -> Iterator[None]:
    """Whoever runs the tests, or nobody where that is root, who may read everything."""
    user = os.geteuid()
    os.seteuid(user or 65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_graphs_of_all_files_are_deployed_once(tmp_path: Path) -> None:
    agents = _agents(
        tmp_path,
        a=_GRAPH.format(name="one", title="one"),
        b="from .a import one\n" + _GRAPH.format(name="two", title="two"),
    )
    deployed = deployment.load(agents)
    assert sorted(deployed.works) == ["one", "two"]
    program = deployed.latest("one")
    assert program is not None
    handler = next(iter(program.handlers.values()))
    assert handler.call.__module__ == "beluga_deployment.a"
    assert deployed.queues == ("default",)


def test_what_the_folder_has_of_its_own_is_deployed_and_shared(tmp_path: Path) -> None:
    agents = _agents(
        tmp_path,
        __init__=_GRAPH.format(name="one", title="one") + "TITLE = 'two'\n",
        b="from . import TITLE, one\n" + _GRAPH.format(name="two", title="two") + "assert two.name == TITLE\n",
    )
    assert sorted(deployment.load(agents).works) == ["one", "two"]
    (tmp_path / "__init__.py").write_text("1/0")
    with pytest.raises(InvalidDeployment, match=r"__init__\.py, line 1: ZeroDivisionError"):
        deployment.load(agents)


@pytest.mark.parametrize(("imported", "wanted"), [("a", ".a"), ("shop_agents.a", ".other")])
def test_a_file_that_another_cannot_import_by_its_bare_name_is_named_as_it_can(
    tmp_path: Path, imported: str, wanted: str
) -> None:
    folder = tmp_path / "shop_agents"
    folder.mkdir()
    agents = _agents(folder, a=_GRAPH.format(name="one", title="one"), b=f"from {imported} import one\n")
    told = f"b.py, line 1: ModuleNotFoundError: .*: files of one folder import one another by `from {wanted} import"
    with pytest.raises(InvalidDeployment, match=told):
        deployment.load(agents)


def test_a_graph_whose_file_was_imported_under_two_names_is_not_told_to_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "twice"
    folder.mkdir()
    agents = _agents(folder, a=_GRAPH.format(name="one", title="one"), b="from twice.a import one\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidDeployment, match=r"b\.py: graph 'one' is there twice.* as twice\.a: .*`from \.a import"):
        deployment.load(agents)


async def test_a_file_may_run_its_graph_while_it_is_imported_by_a_command(tmp_path: Path) -> None:
    """Commands load deployments in the midst of their own loop."""
    here = "import asyncio\n" + _GRAPH.format(name="one", title="one") + "assert asyncio.run(one.invoke(2)) == 4\n"
    assert sorted(deployment.load(_agents(tmp_path, a=here)).works) == ["one"]


def test_what_a_file_prints_while_it_is_imported_spoils_no_json(tmp_path: Path) -> None:
    agents = _agents(tmp_path, a=_GRAPH.format(name="one", title="one") + "print('hello')\n")
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", "docs", "asyncapi"],
        env=os.environ | {"BELUGA_AGENTS": agents},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["asyncapi"]
    assert done.stderr == "hello\n"


_PLAIN = """
from beluga_stream import app
seen = app.Table("seen", default=int)
@app.agent(app.topic("clicks"))
async def count(stream):
    pass
@app.timer(1.0)
async def tick():
    pass
def times(number: int) -> int:
    return number * len(app.tables)
"""


async def test_files_may_add_plain_faust_and_be_loaded_again(tmp_path: Path) -> None:
    """As `beluga doctor` does, in the midst of its loop: each load has an app of its own."""
    agents = _agents(tmp_path, a=_PLAIN + _GRAPH.format(name="one", title="one"), b="from .a import seen, app\n")
    for _ in range(2):
        assert sorted(deployment.load(agents).works) == ["one"]
        first, second = (sys.modules[f"beluga_deployment.{name}"] for name in "ab")
        assert first.app is second.app
        assert list(first.app.tables) == ["seen"]


def _python(agents: str, *words: str) -> str:
    environ = os.environ | {"BELUGA_AGENTS": agents, "BELUGA_DATA": f"{agents}/data", "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, *words], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plain_faust_of_files_is_the_engines(tmp_path: Path) -> None:
    agents = _agents(tmp_path, a=_PLAIN)
    assert "seen" in _python(agents, "-m", "faust", "-A", "beluga_stream", "tables")
    assert "a.count" in _python(agents, "-m", "faust", "-A", "beluga_stream", "agents")


def test_a_child_process_imports_files_that_add_plain_faust(tmp_path: Path) -> None:
    code = """
from beluga_stream.bootstrap.child import prepare_child
prepare_child({!r})
from beluga_deployment.a import app, times
from beluga_deployment import b
from beluga_stream import app as later
assert app is b.app is later
print(times(7))
"""
    agents = _agents(tmp_path, a=_PLAIN, b="from beluga_stream import app\n")
    assert _python(agents, "-c", code.format(agents)) == "7\n"


def test_a_deployment_without_plain_faust_loads_none(tmp_path: Path) -> None:
    agents = _agents(tmp_path, a=_GRAPH.format(name="one", title="one"))
    code = """
import sys
from beluga_stream.bootstrap import deployment
deployment.load({!r})
print("faust" in sys.modules)
"""
    assert _python(agents, "-c", code.format(agents)) == "False\n"


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match=r"broken\.py, line 2: syntax error"):
        deployment.load(_agents(tmp_path, broken="x = 1\ndef f(:\n"))


def test_an_error_while_importing_names_the_line_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match=r"broken\.py, line 2: ZeroDivisionError"):
        deployment.load(_agents(tmp_path, broken="x = 1\ny = 1 / 0\n"))


def test_what_this_package_refuses_names_the_line_that_asked_for_it(tmp_path: Path) -> None:
    asked = "from beluga_stream import Retry\nmany = Retry(100)\n"
    with pytest.raises(InvalidDeployment, match=r"broken\.py, line 2: InvalidConfig: Retry\(attempts=100\)"):
        deployment.load(_agents(tmp_path, broken=asked))


@pytest.mark.parametrize(
    "text",
    ["import sys\nsys.exit()\n", "import argparse\nargparse.ArgumentParser().parse_args(['--help'])\n"],
)
def test_a_file_that_ends_the_process_while_it_is_imported_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDeployment, match=r"program\.py, line 2: .* under `if __name__"):
        deployment.load(_agents(tmp_path, program=text))


def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    text = _GRAPH.format(name="one", title="one").rsplit("\n", 2)[0]
    with pytest.raises(InvalidDeployment, match="has no finish"):
        deployment.load(_agents(tmp_path, a=text))


def test_two_graphs_of_one_name_are_refused(tmp_path: Path) -> None:
    agents = _agents(tmp_path, a=_GRAPH.format(name="one", title="same"), b=_GRAPH.format(name="two", title="same"))
    with pytest.raises(InvalidDeployment, match=r"a\.py and .*b\.py: two graphs are named 'same'"):
        deployment.load(agents)


def test_two_graphs_of_one_name_in_a_file_are_told_with_the_file_once(tmp_path: Path) -> None:
    text = _GRAPH.format(name="one", title="same") + _GRAPH.format(name="two", title="same")
    with pytest.raises(InvalidDeployment) as refused:
        deployment.load(_agents(tmp_path, both=text))
    assert str(refused.value).count("both.py") == 1


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match="neither a folder here nor a package"):
        deployment.load("no_such_place")


@pytest.mark.parametrize("named", ["./nowhere", "../nowhere", "/no/where"])
def test_a_path_that_leads_nowhere_is_said(named: str) -> None:
    with pytest.raises(InvalidDeployment, match="neither a folder here nor a package"):
        deployment.load(named)


def test_where_nobody_names_the_graphs_they_are_in_a_folder_and_never_in_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name `agents` is anybody's: a package of it may be somewhere on the path."""
    (tmp_path / "lib" / "agents").mkdir(parents=True)
    _agents(tmp_path / "lib" / "agents", a=_GRAPH.format(name="one", title="elsewhere"), __init__="")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    monkeypatch.delenv("BELUGA_AGENTS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidDeployment, match="there is no folder agents here"):
        deployment.load_of(Settings.load())
    assert list(deployment.load_of(Settings.load(agents="agents")).works) == ["elsewhere"]


def test_a_folder_of_topics_may_be_missing_only_where_nobody_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BELUGA_TOPICS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load_topics(Settings.load()) == []
    with pytest.raises(InvalidDeployment, match="BELUGA_TOPICS=nope is no folder"):
        load_topics(Settings.load(topics="nope"))
    (tmp_path / "topics").write_text("topics: []")
    with pytest.raises(InvalidDeployment, match="BELUGA_TOPICS=topics is no folder"):
        load_topics(Settings.load())


def test_topics_have_units(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("topics:\n  - {name: a.b, partitions: 3, retention: 2h, cleanup: compact}\n")
    (spec,) = load_topics(Settings.load(topics=tmp_path))
    assert (spec.name, spec.partitions) == ("a.b", 3)
    assert spec.config == {"retention.ms": "7200000", "cleanup.policy": "compact"}


def test_a_topic_that_names_no_counts_gets_those_of_the_engine(tmp_path: Path) -> None:
    """One that is lost with a single broker would be the weakest part of an engine with three replicas."""
    (tmp_path / "t.yaml").write_text("topics:\n  - name: a\n  - {name: b, partitions: 2, replication: 1}\n")
    settings = Settings.load(topics=tmp_path, partitions=12, replication=3)
    found = {spec.name: (spec.partitions, spec.replication) for spec in engine_topics(settings, ["default"])}
    assert (found["a"], found["b"]) == ((12, 3), (2, 1))


@pytest.mark.parametrize(("replication", "insync"), [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
def test_a_record_of_the_engine_is_written_when_two_replicas_have_it(
    tmp_path: Path, replication: int, insync: str
) -> None:
    specs = engine_topics(Settings.load(topics=tmp_path, replication=replication), ["default"])
    assert {spec.config["min.insync.replicas"] for spec in specs} == {insync}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topics: [", "is no YAML"),
        (
            "topics:\n  - {name: a, partitions: none}",
            "topic 'a': partitions: 'none' does not fit: give a whole number, 1 to 10,000",
        ),
        ("topics:\n  - {name: a, colour: red}", "topic 'a': there is no key 'colour': there are cleanup, config"),
        ("topics:\n  - {name: a, partition: 3}", r"there is no key 'partition': is 'partitions' meant\?"),
        ("topics:\n  - {name: a, retention: 7 days}", "retention: '7 days' does not fit: give a whole number with ms"),
        ("topics:\n  - {name: a, cleanup: compacted}", "cleanup: 'compacted' does not fit: give delete or compact"),
        ("topics:\n  - {name: a, replication: 0}", "replication: 0 does not fit: give a whole number, 1 to 9"),
        ("topics:\n  - {name: a, config: {a.b: 2}}", r"config\.a\.b: 2 does not fit: .* each value in quotes"),
        ("topics:\n  - {name: a}\n  - {name: my topic}", "'my topic' does not fit: give up to 249 letters"),
        ("topics:\n  - {partitions: 3}", "number 1 of the topics: it has no name"),
        ("topics:\n  - a", "number 1 of the topics has no keys: begin it with `name:`"),
        ("topics:\n  a: {}", "this is no list of topics"),
        ("- name: a", "this is no list of topics: give `topics:`"),
        ("", "this is no list of topics"),
        ("topics:\n  - {name: a}\n  - {name: a}", "a second time"),
        ("topics:\n  - {name: a, config: {retention.ms: abc}}", r"topic 'a': config: retention\.ms must be a whole"),
        ("topics: []\nx: 2026-13-45", "is no YAML: month must be in"),
        (b"topics: [{name: \xff}]", "is no YAML: 'utf-8' codec"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_wrong_topic_is_named_by_file_and_place(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    if text is None:
        (tmp_path / "t.yaml").mkdir()
    else:
        (tmp_path / "t.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidDeployment, match=said) as wrong:
        load_topics(Settings.load(topics=tmp_path))
    assert "t.yaml" in str(wrong.value)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """It is no folder without graphs: with none an engine would start, and do nothing."""
    agents = _agents(tmp_path, a=_GRAPH.format(name="one", title="one"))
    tmp_path.chmod(0)
    try:
        with _as_somebody(), pytest.raises(InvalidDeployment, match=r"BELUGA_AGENTS=.*cannot be read: Permission den"):
            deployment.load(agents)
    finally:
        tmp_path.chmod(0o700)
