"""`beluga topics check` as it is typed: the documents' worked example, each kind of break, and bad input."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
_GRAPHS = """
from collections.abc import AsyncIterator
from pydantic import BaseModel
from beluga_stream import Graph, Signal, Topic, batch, join


class Order(BaseModel):
    id: str
    amount: int


class Payment(BaseModel):
    id: str
    paid: int


class Answer(BaseModel):
    yes: bool


def take(order: Order) -> Order:
    return order


async def tell(order: Order) -> AsyncIterator[int]:
    yield order.amount


shipping = Graph[Order, Answer]("shipping")
_asked = shipping.add_node(take, shipping.input)
_told = shipping.add_node(tell, shipping.input)
shipping.set_finish_point(shipping.wait(Signal("approve it", Answer), after=_asked, timeout=60))
shipping.trigger(Topic("orders", Order))


def settle(both: tuple[Order, Payment]) -> str:
    return both[0].id


settling = Graph[tuple[Order, Payment], str]("settling")
settling.set_finish_point(settling.add_node(settle, settling.input))
settling.trigger(
    join(
        Topic("sold", Order).by(lambda order: order.id),
        Topic("payments", Payment).by(lambda payment: payment.id),
        within=60,
    )
)
"""


class _Place:
    """A folder with versions of a deployment, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, version: str, code: str) -> None:
        (self.folder / version).mkdir(exist_ok=True)
        (self.folder / version / "graphs.py").write_text(code)

    def run(self, *words: str, agents: str, code: int = 0, stdin: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "beluga_stream.cli", *words, "--agents", agents],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=stdin,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code == 2 else done.stdout

    def keep(self, version: str, name: str = "asyncapi.json") -> None:
        (self.folder / name).write_text(self.run("docs", "asyncapi", agents=version))

    def check(self, *words: str, agents: str, code: int = 0) -> dict[str, Any]:
        told = self.run("topics", "check", "--against", "asyncapi.json", "--json", *words, agents=agents, code=code)
        return {each["name"]: each for each in json.loads(told)}


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    (tmp_path / "topics").mkdir()
    return _Place(tmp_path)


def test_the_worked_example_says_what_the_document_says(place: _Place) -> None:
    page = _PAGE.read_text()
    before, after = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = re.search(r"^```console\n(\$ beluga topics check.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown
    command, _, said = shown[1].partition("\n")
    place.write("before", before)
    models = re.compile(r"class Order.*?(?=\n\n\nasync def)", re.DOTALL)
    place.write("after", models.sub(lambda _: after.strip(), before))
    place.keep("before")
    assert place.run(*command.split()[2:], agents="after", code=1) == said
    assert "refused" not in place.run(*command.split()[2:], agents="before")


def test_every_topic_graph_signal_and_chunk_is_compared(place: _Place) -> None:
    place.write("v1", _GRAPHS)
    place.keep("v1")
    assert {
        name: each["state"] for name, each in place.check("--full", "--strict", agents="v1").items()
    } == dict.fromkeys(
        [
            "orders event",
            "payments event",
            "settling input",
            "settling output",
            "shipping chunks tell",
            "shipping input",
            "shipping output",
            "shipping signal approve it",
            "sold event",
        ],
        "compatible",
    )


def test_what_is_read_is_compared_backward_and_what_is_written_forward(place: _Place) -> None:
    place.write("v1", _GRAPHS)
    place.keep("v1")
    wider = _GRAPHS.replace("AsyncIterator[int]", "AsyncIterator[float]").replace("amount: int", "amount: float")
    place.write("v2", wider)
    found = place.check(agents="v2", code=1)
    assert {name for name, each in found.items() if each["state"] == "refused"} == {"shipping chunks tell"}
    assert found["shipping chunks tell"]["breaks"][0]["direction"] == "forward"
    both = place.check("--full", agents="v2", code=1)
    assert {name for name, each in both.items() if each["state"] == "refused"} == {
        "shipping chunks tell",
        "orders event",
        "sold event",
        "shipping input",
        "settling input",
    }
    narrower = _GRAPHS.replace("yes: bool", "yes: bool\n    why: str")
    place.write("v3", narrower)
    found = place.check(agents="v3", code=1)
    assert [each["at"] for each in found["shipping signal approve it"]["breaks"]] == ["/why"]
    assert found["shipping output"]["state"] == "compatible", "earlier readers ignore a further member"


def test_a_topic_of_a_join_is_compared_and_a_topic_may_have_readers_of_several_types(place: _Place) -> None:
    place.write("v1", _GRAPHS)
    place.keep("v1")
    demanding = "class Demanding(Order):\n    at: str\n\n\nclass Payment"
    several = _GRAPHS.replace('Topic("sold", Order)', 'Topic("orders", Demanding)')
    place.write("v2", several.replace("class Payment", demanding, 1))
    found = place.check(agents="v2", code=1)
    assert {name: each["state"] for name, each in found.items() if each["kind"] == "event"} == {
        "orders event trigger.shipping.orders": "compatible",
        "orders event trigger.settling.orders_2bpayments.0": "refused",
        "payments event": "compatible",
        "sold event": "removed",
    }


def test_what_is_gone_is_refused_unless_it_is_accepted_by_its_name(place: _Place) -> None:
    place.write("v1", _GRAPHS)
    place.keep("v1")
    place.write("v2", _GRAPHS.replace('Graph[Order, Answer]("shipping")', 'Graph[Order, Answer]("sending")'))
    found = place.check(agents="v2", code=1)
    gone = sorted(name for name, each in found.items() if each["state"] == "removed")
    assert gone == ["shipping chunks tell", "shipping input", "shipping output", "shipping signal approve it"]
    assert found["sending input"]["state"] == "new"
    accepted = [word for name in gone for word in ("--accept", name)]
    assert place.check(*accepted, agents="v2")["shipping input"]["state"] == "accepted"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "no AsyncAPI document as `beluga docs asyncapi` writes it"),
        ('{"asyncapi": "3.0.0", "components": {"schemas": {}}}', "no AsyncAPI document as"),
        ('{"components": {"schemas": {}}, "x-beluga-contracts": [3]}', "no AsyncAPI document as"),
        (
            json.dumps(
                {
                    "components": {"schemas": {"a": {"type": 3}}},
                    "x-beluga-contracts": [{"kind": "event", "of": "a", "part": None, "schema": "a"}],
                }
            ),
            "schema 'a': this is no JSON schema",
        ),
    ],
)
def test_a_document_that_is_none_is_wrong_usage(place: _Place, text: str, said: str) -> None:
    place.write("v1", _GRAPHS)
    assert said in place.run("topics", "check", "--against", "-", agents="v1", code=2, stdin=text)


def test_a_file_or_a_name_that_is_not_there_is_wrong_usage(place: _Place) -> None:
    place.write("v1", _GRAPHS)
    place.keep("v1")
    assert "nowhere.json cannot be read" in place.run(
        "topics", "check", "--against", "nowhere.json", agents="v1", code=2
    )
    said = place.run("topics", "check", "--against", "asyncapi.json", "--accept", "order", agents="v1", code=2)
    assert "there is no such thing; there are: orders event" in said
