"""A new project: the smallest one that has everything, to be changed into one's own."""

import shlex
from pathlib import Path

from ..errors import InvalidInput
from .screen import OK, console, print_json

_NOTES = """\
import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from beluga_stream import Graph, Topic


class Doc(BaseModel):
    text: str


async def split(doc: Doc) -> list[str]:
    return [line.strip() for line in doc.text.split(".") if line.strip()]


async def shout(line: str) -> str:
    return line.upper()


async def digest(lines: list[str]) -> AsyncIterator[str]:  # streams: each chunk leaves as it is yielded
    for line in lines:
        yield line.split()[0]


def report(shouted: list[str], words: list[str]) -> str:
    return f"{' / '.join(shouted)} ({', '.join(words)})"


notes = Graph[Doc, str]("notes")
lines = notes.add_node(split, notes.input)  # edges are typed references
shouted = notes.add_map(shout, lines, max_parallel=8)  # one execution for each line
words = notes.add_node(digest, lines)
notes.set_finish_point(notes.add_node(report, shouted, words))
notes.trigger(Topic("notes.submitted", Doc))  # an event of this topic starts a run

if __name__ == "__main__":
    print(asyncio.run(notes.invoke(Doc(text="To be. Or not to be."))))  # here, without a broker
"""

_TOPICS = """\
# Who publishes decides what is in a topic; this says how the broker keeps it. `beluga topics apply` creates it.
topics:
  - name: notes.submitted
    partitions: 4
    retention: 7d
"""

_CONFTEST = """\
pytest_plugins = ["beluga_stream.testing"]
"""

_TEST = '''\
"""The graph on a simulated engine, whose processes die and whose records come late as the seed decides."""

import pytest
from agents.notes import Doc, notes
from beluga_stream.testing import Simulate


@pytest.mark.parametrize("seed", range(10))
def test_every_line_of_a_note_is_in_its_report(simulate: Simulate, seed: int) -> None:
    outcome = simulate(notes, Doc(text="To be. Or not to be."), seed=seed)
    assert outcome.result == "TO BE / OR NOT TO BE (To, Or)"
'''

_README = """\
# A project of beluga_stream

`agents/` has the graphs, `topics/` says how the topics of their events are kept, `tests/` plays runs on an engine that
is simulated.

    python agents/notes.py      # a run here, without a broker
    beluga dev                  # broker, engine and page of runs; the rest is for another terminal
    beluga run notes '{"text": "To be. Or not to be."}'
    beluga publish notes.submitted '{"text": "To be. Or not to be."}'
    beluga runs list
    python -m pytest            # pip install pytest
"""

FILES = {
    "agents/notes.py": _NOTES,
    "topics/notes.yaml": _TOPICS,
    "tests/test_notes.py": _TEST,
    "conftest.py": _CONFTEST,
    "README.md": _README,
}
"""What a project has, by the path in its folder."""


def begin(folder: Path, *, as_json: bool) -> None:
    """Write the project into the folder. Raises `InvalidInput`, and writes nothing, when one of its files is there."""
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise InvalidInput(f"{folder / there[0]} is there already, and would be overwritten: name another folder")
    try:
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"folder": str(folder), "files": list(FILES)})
        return
    for name in FILES:
        console.print(OK, str(folder / name), soft_wrap=True)
    enter = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    console.print(f"`{enter}beluga dev` runs it; {folder / 'README.md'} says what else there is", soft_wrap=True)
