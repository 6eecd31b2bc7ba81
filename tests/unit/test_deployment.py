"""What is in agents/ and topics/ loads under one name, and what does not load is named by file and line."""

from pathlib import Path

import pytest

from beluga_stream.bootstrap import deployment
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


async def test_a_file_may_run_its_graph_while_it_is_imported_by_a_command(tmp_path: Path) -> None:
    """As the first program of the README does, and commands load deployments in the midst of their own loop."""
    here = "import asyncio\n" + _GRAPH.format(name="one", title="one") + "assert asyncio.run(one.invoke(2)) == 4\n"
    assert sorted(deployment.load(_agents(tmp_path, a=here)).works) == ["one"]


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match=r"broken\.py, line 2: syntax error"):
        deployment.load(_agents(tmp_path, broken="x = 1\ndef f(:\n"))


def test_an_error_while_importing_names_the_line_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match=r"broken\.py, line 2: ZeroDivisionError"):
        deployment.load(_agents(tmp_path, broken="x = 1\ny = 1 / 0\n"))


def test_a_graph_that_cannot_run_is_refused(tmp_path: Path) -> None:
    text = _GRAPH.format(name="one", title="one").rsplit("\n", 2)[0]
    with pytest.raises(InvalidDeployment, match="has no finish"):
        deployment.load(_agents(tmp_path, a=text))


def test_two_graphs_of_one_name_are_refused(tmp_path: Path) -> None:
    agents = _agents(tmp_path, a=_GRAPH.format(name="one", title="same"), b=_GRAPH.format(name="two", title="same"))
    with pytest.raises(InvalidDeployment, match="two graphs are named 'same'"):
        deployment.load(agents)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeployment, match="neither a folder here nor a package"):
        deployment.load("no_such_place")


def test_topics_have_units(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("topics:\n  - {name: a.b, partitions: 3, retention: 2h, cleanup: compact}\n")
    (spec,) = deployment.load_topics(tmp_path)
    assert (spec.name, spec.partitions) == ("a.b", 3)
    assert spec.config == {"retention.ms": "7200000", "cleanup.policy": "compact"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topics: [", "is no YAML"),
        ("topics:\n  - {name: a, partitions: none}", r"topics\.0\.partitions"),
        ("topics:\n  - {name: a, colour: red}", r"topics\.0\.colour"),
        ("topics:\n  - {name: a}\n  - {name: a}", "a second time"),
    ],
)
def test_a_wrong_topic_is_named_by_file_and_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(InvalidDeployment, match=said) as wrong:
        deployment.load_topics(tmp_path)
    assert "t.yaml" in str(wrong.value)
