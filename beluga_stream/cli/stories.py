"""What the demo sends and keeps of each story: the twelve texts as events, and how far each has come."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ..domain.ids import RunId, run_id
from ..errors import InvalidConfig
from ..ports.log import Outgoing

TOPIC = "documents.submitted"
GRAPH = "stories"
STREAMING_NODE = "digest"
READING_NODE = "narrate"
MAPPED_NODE = "outline"
_WARM_UP = "warm-up"


@dataclass
class Told:
    """One story, its run, and what has come back. Times in seconds of the monotonic clock."""

    id: str
    title: str
    text: str
    run: RunId
    sent_at: float = 0.0
    first_chunk_at: float | None = None
    ended_at: float | None = None
    status: str = "submitted"
    failure: str = ""
    sections: int = 0
    sentences: list[str] = field(default_factory=list)
    is_written: bool = False
    """Whether the digest has ended."""
    lines: list[str] = field(default_factory=list)
    """What was narrated, each with the second at which it is spoken."""
    early: int = 0
    """How many of them while the digest was still being written."""
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def first_chunk_ms(self) -> float | None:
        return None if self.first_chunk_at is None else (self.first_chunk_at - self.sent_at) * 1_000

    @property
    def total_ms(self) -> float | None:
        return None if self.ended_at is None else (self.ended_at - self.sent_at) * 1_000

    def event(self) -> Outgoing:
        """The story as the plain JSON event that starts its run; from now on its time runs."""
        self.sent_at = time.monotonic()
        value = {"id": self.id, "title": self.title, "text": self.text}
        return Outgoing(TOPIC, self.title.encode(), orjson.dumps(value))

    def summary(self) -> dict[str, Any]:
        """What the closing table shows, for machines."""
        return {
            "story": self.title,
            "run": self.run,
            "status": self.status,
            "sections": self.sections,
            "sentences": len(self.sentences),
            "narrated": len(self.lines),
            "narrated_early": self.early,
            "people": self.report.get("people", []),
            "first_chunk_ms": self.first_chunk_ms,
            "total_ms": self.total_ms,
        }


def warm_up(*, mark: str) -> Told:
    """A note of one line: when its run has succeeded, every part of the engine is there."""
    return _told(f"{_WARM_UP}-{mark}", "Is anybody there?", "Sherlock Holmes asked whether anybody was there.")


def read_stories(agents: str, write_name: str | None, *, mark: str) -> list[Told]:
    """The texts beside the demo's graphs, in order; the first one gets a person more, if one is named.

    `mark` makes their ids those of this demo: the same id never starts a second run.
    Raises `InvalidConfig` when they are not there.
    """
    folder = Path(agents) / "data" / "sherlock"
    stories = list(_read(folder, mark))
    if not stories:
        raise InvalidConfig(
            f"the demo's texts are not in {folder}: run it in the project's folder, or set BELUGA_AGENTS to its agents/"
        )
    if write_name:
        first = stories[0]
        name = " ".join(write_name.split())
        first.text += f"\n\n{_about(name)}\n"
    return stories


def _read(folder: Path, mark: str) -> Iterator[Told]:
    for path in sorted(folder.glob("*.txt")):
        title, _, text = path.read_text(encoding="utf-8").partition("\n")
        yield _told(f"{path.stem}-{mark}", title.strip(), text.strip())


def _about(name: str) -> str:
    return f'"I have been expecting you," said Mr. {name}, and we followed Mr. {name} into the room.'


def _told(identity: str, title: str, text: str) -> Told:
    # As ingest makes it: the trigger is named after its topic, the story's own id is its idempotency key.
    return Told(identity, title, text, run_id(GRAPH, TOPIC, identity))
