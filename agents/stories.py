"""The demo deployment: stories come in as events, reports come out, and finished reports are indexed.

`stories` reads one document: its sections, their keywords, a digest that streams sentence by sentence and is narrated
while it is still being written, and who and what places are named. A document too short for that takes a way of its
own. `index`, started by every run of `stories` that succeeds, keeps the reports in a file. Everything is written as any
user of the engine would write it; how texts are taken apart is in `passages`, `summary` and `names`.
"""

import asyncio
import fcntl
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, Field

from beluga_stream import Graph, Message, Retry, Stream, Topic, context, node, on_run

from .names import people as people_of
from .names import places as places_of
from .passages import sections as sections_of
from .passages import sentences as sentences_of
from .summary import digest as digest_of
from .summary import keywords as keywords_of

SHORT = 120  # words; below, a digest would be the document
DIGEST = 12  # sentences
SPOKEN = 2.5  # words a second


# --- What the nodes hand to one another ---------------------------------------------------------------------


class Story(BaseModel):
    """A document as it is submitted, with its text inline.

    `id` is the submitter's own name for it, if there is one: the same id never starts a second run.
    """

    title: str = Field(min_length=1, max_length=500)
    text: str = Field(max_length=2_000_000)
    id: str = ""


class Note(Story):
    """A story too short to be cut up."""

    # As JSON the two kinds would look alike without it, and values travel as JSON.
    kind: Literal["note"] = "note"


class Manuscript(Story):
    """A story long enough to be read in sections."""

    kind: Literal["manuscript"] = "manuscript"


class Section(BaseModel):
    """One section of a story; `number` counts from 1."""

    title: str
    number: int
    text: str


class Outline(BaseModel):
    """What one section is about."""

    title: str
    number: int
    words: int
    keywords: list[str]


class Cast(BaseModel):
    """Who and what places a story names, most often named first."""

    people: list[str]
    places: list[str]


class Line(BaseModel):
    """A sentence to be spoken, and when: in seconds since the first."""

    at: float
    text: str


class Report(BaseModel):
    """What one run of `stories` has to say about a document."""

    title: str
    words: int
    sections: list[Outline]
    digest: list[str]
    narration: list[Line] = []
    people: list[str]
    places: list[str]


class Entry(BaseModel):
    """A finished report, and the run that made it."""

    run_id: str
    report: Report


class Indexed(BaseModel):
    """Where a report stands in the index. `added` is false if it stood there already."""

    run_id: str
    added: bool


# --- Nodes of `stories` -------------------------------------------------------------------------------------


def load(story: Story) -> Note | Manuscript:
    """Choose the way: the type of what this returns decides which nodes run."""
    kind = Note if len(story.text.split()) < SHORT else Manuscript
    return kind(**story.model_dump())


def brief(note: Note) -> Report:
    return Report(
        title=note.title,
        words=len(note.text.split()),
        sections=[],
        digest=sentences_of(note.text),
        people=people_of(note.text),
        places=places_of(note.text),
    )


def split(manuscript: Manuscript) -> list[Section]:
    return [
        Section(title=manuscript.title, number=number, text=text)
        for number, text in enumerate(sections_of(manuscript.text), start=1)
    ]


def outline(section: Section) -> Outline:
    return Outline(
        title=section.title,
        number=section.number,
        words=len(section.text.split()),
        keywords=keywords_of(section.text),
    )


@node(retry=Retry(4), timeout=30)
async def digest(sections: list[Section]) -> AsyncIterator[str]:
    """Stream the sentences as they are found.

    The digest is deterministic, so an attempt that follows a failed one goes on behind what that one has emitted
    (`resume=True` below): readers see every sentence once.
    """
    sentences = digest_of([section.text for section in sections], DIGEST)
    done = len(context().emitted(str))
    number = 0
    # Ranking is work for the processor: in a thread it does not stall the worker's event loop.
    while (sentence := await asyncio.to_thread(next, sentences, None)) is not None:
        number += 1
        if number > done:
            yield sentence


async def narrate(sentences: Stream[str]) -> AsyncIterator[Line]:
    """Say when each sentence is to be spoken, as it comes: the first one while the digest is still being written."""
    at = 0.0
    async for sentence in sentences:
        yield Line(at=at, text=sentence)
        at = round(at + len(sentence.split()) / SPOKEN, 1)


def people(manuscript: Manuscript) -> list[str]:
    return people_of(manuscript.text)


def places(manuscript: Manuscript) -> list[str]:
    return places_of(manuscript.text)


def cast(people: list[str], places: list[str]) -> Cast:
    """Join both lists. A name on both is a person's: what makes a person is the stronger evidence in a text."""
    return Cast(people=people, places=[place for place in places if place not in people])


def report(outlines: list[Outline], sentences: list[str], narration: list[Line], cast: Cast) -> Report:
    return Report(
        title=outlines[0].title,
        words=sum(outline.words for outline in outlines),
        sections=outlines,
        digest=sentences,
        narration=narration,
        people=cast.people,
        places=cast.places,
    )


def identity(message: Message[Story]) -> str:
    """The submitter's id, else the content: a document submitted twice is analysed once."""
    story = message.data
    return story.id or hashlib.sha256(f"{story.title}\0{story.text}".encode()).hexdigest()


stories = Graph[Story, Report]("stories")
loaded = stories.add_node(load, stories.input)
manuscript = loaded.case(Manuscript)
sections = stories.add_node(split, manuscript)
outlines = stories.add_map(outline, sections, max_parallel=8)
sentences = stories.add_node(digest, sections, resume=True)
narration = stories.add_node(narrate, sentences.stream)
who = stories.add_node(people, manuscript)
where = stories.add_node(places, manuscript)
named = stories.add_node(cast, who, where)
long_way = stories.add_node(report, outlines, sentences, narration, named)
short_way = stories.add_node(brief, loaded.case(Note))
stories.set_finish_point(stories.first(short_way, long_way))
stories.trigger(Topic("documents.submitted", Story), idempotency_key=identity)


# --- The index of finished reports --------------------------------------------------------------------------


def index_path() -> Path:
    """The file named by BELUGA_DEMO_INDEX; one JSON line for each report."""
    return Path(os.environ.get("BELUGA_DEMO_INDEX") or Path(tempfile.gettempdir()) / "beluga-demo-index.jsonl")


@node(retry=Retry(4, on=(OSError,)), timeout=30)
def add_to_index(entry: Entry) -> Indexed:
    """Add the report unless its run is in the index already.

    A node may run twice, so this must be safe to repeat. The lock is the file's own: workers of several processes
    write the same index.
    """
    path = index_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes, also by a crash
        if entry.run_id in _indexed_runs(file):
            return Indexed(run_id=entry.run_id, added=False)
        file.write(entry.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return Indexed(run_id=entry.run_id, added=True)


def _indexed_runs(file: BinaryIO) -> set[str]:
    """The runs in the index, which afterwards ends with a whole line: a crash may have left half of one."""
    runs: set[str] = set()
    end = 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            file.truncate(end)
            break
        end += len(line)
        runs.add(Entry.model_validate_json(line).run_id)
    file.seek(0, os.SEEK_END)
    return runs


index = Graph[Entry, Indexed]("index")
index.set_finish_point(index.add_node(add_to_index, index.input))
index.trigger(on_run(stories, "succeeded"), lambda message: Entry(run_id=message.id, report=message.data))
