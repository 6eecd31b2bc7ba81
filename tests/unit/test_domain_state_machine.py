"""The page that shows the state machine says what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from beluga_stream.domain.state import NODE_ENDED, NodeStatus, RunStatus
from beluga_stream.domain.transitions import TABLE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_current(generate: ModuleType) -> None:
    for name, page in generate.PAGES.items():
        assert (DOCS / name).read_text(encoding="utf-8") == page(), "run: python docs/generate.py"


def test_the_page_of_errors_has_every_code(generate: ModuleType) -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| `\w+` \| .* \| \d{3} \|", generate.errors(), re.MULTILINE))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS.parent / "beluga_stream").rglob("*.py"))
    declared = set(re.findall(r"^    code(?:: str)? = \"(\w+)\"$", sources, re.MULTILINE))
    assert {"internal", "poisoned"} < declared
    assert listed == declared


def test_no_event_moves_a_node_that_has_ended_or_not_begun() -> None:
    closed = {*NODE_ENDED, NodeStatus.PENDING}
    assert not [status for status, _ in TABLE if status in closed]


@pytest.mark.parametrize(
    ("page", "said", "statuses"),
    [
        ("wire.md", r"`status\.status` is one of(.*?)\.\s", RunStatus),
        ("wire.md", r"`nodes\[\]\.status` is one of(.*?);", NodeStatus),
        ("http.md", r"the run's `status`:(.*?);", RunStatus),
    ],
)
def test_the_lists_of_statuses_are_whole(page: str, said: str, statuses: type[RunStatus | NodeStatus]) -> None:
    found = re.search(said, (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    # What is in brackets says what a status means.
    assert re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", found.group(1), flags=re.DOTALL)) == list(statuses)


def test_every_status_is_reached(generate: ModuleType) -> None:
    reached = {after for transition in TABLE.values() for after in transition.leads_to}
    reached |= {after for _, after, _ in generate._BY_THE_GRAPH}
    assert reached | {NodeStatus.CANCELLED} == set(NodeStatus)
