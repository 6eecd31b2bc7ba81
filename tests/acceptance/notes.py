"""The graph of the acceptance tests; a deployment as BELUGA_AGENTS=tests.acceptance.notes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from beluga_stream import Graph, Topic


class Doc(BaseModel):
    text: str


class Report(BaseModel):
    lines: list[str]
    words: list[str]
    pid: int


async def split(doc: Doc) -> list[str]:
    return [line.strip() for line in doc.text.split(".") if line.strip()]


async def shout(line: str) -> str:
    return line.upper()


async def digest(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line.split()[0]


def report(shouted: list[str], words: list[str]) -> Report:
    return Report(lines=shouted, words=words, pid=os.getpid())


notes = Graph[Doc, Report]("notes")
_lines = notes.add_node(split, notes.input)
notes.set_finish_point(notes.add_node(report, notes.add_map(shout, _lines), notes.add_node(digest, _lines)))
notes.trigger(Topic("acceptance.notes", Doc))


def declare(folder: Path) -> None:
    """Declare its topic for an engine in `folder`: all engines on a broker share it, and must do so alike."""
    topics = folder / "topics"
    topics.mkdir(exist_ok=True)
    (topics / "notes.yaml").write_text("topics:\n  - name: acceptance.notes\n    partitions: 2\n")
