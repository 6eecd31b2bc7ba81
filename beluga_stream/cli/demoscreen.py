"""How the demo looks: sentences as they come with a line of progress under them, and a table at the end."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from rich.live import Live
from rich.text import Text

from ..application.clients.results import Chunk, Event
from .screen import console, duration, print_line, sign, table
from .stories import READING_NODE, STREAMING_NODE, Told

_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red")
_TITLE = 26

Show = Callable[[Told, Event], None]


class DemoScreen:
    """Text for people, or JSON lines for machines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, line: str, style: str = "") -> None:
        """One line about what is going on."""
        if not self._as_json:
            console.print(line, style=style, soft_wrap=True)

    @asynccontextmanager
    async def live(self, stories: Sequence[Told]) -> AsyncIterator[Show]:
        """Shows what happens while it happens."""
        if self._as_json:
            yield self._print_json
            return
        console.print()
        if not console.is_terminal:
            yield self._print_sentence
            return
        with Live(_progress(stories), console=console, refresh_per_second=12, transient=True) as live:

            def show(story: Told, event: Event) -> None:
                self._print_sentence(story, event)
                live.update(_progress(stories))

            yield show

    def close(self, stories: Sequence[Told], written: str | None, *, indexed: int) -> None:
        """The table, and what became of the name that was written in."""
        if self._as_json:
            print_line({"type": "summary", "stories": [story.summary() for story in stories], "indexed": indexed})
            return
        shown = table("", "story", ">sections", ">sentences", ">people", ">first chunk", ">total")
        for story in stories:
            shown.add_row(
                sign(story.status),
                story.title,
                str(story.sections),
                str(len(story.sentences)),
                str(len(story.report.get("people", []))),
                duration(story.first_chunk_ms),
                duration(story.total_ms),
            )
        console.print()
        console.print(shown)
        succeeded = sum(story.status == "succeeded" for story in stories)
        early, lines = sum(story.early for story in stories), sum(len(story.lines) for story in stories)
        console.print(f"\n{early} of {lines} sentences were narrated while their digest was still being written.")
        console.print(f"{succeeded} of {len(stories)} runs succeeded; {indexed} of their reports are in the index.")
        if written:
            people = ", ".join(stories[0].report.get("people", []))
            console.print(f"{written!r} was written into {stories[0].title!r}, whose people are now: {people}")

    def _print_json(self, story: Told, event: Event) -> None:
        if isinstance(event, Chunk) and event.node == STREAMING_NODE:
            print_line({"type": "chunk", "story": story.title, "run": story.run, "value": story.sentences[-1]})
        elif isinstance(event, Chunk) and event.node == READING_NODE:
            print_line({"type": "line", "story": story.title, "run": story.run, "value": story.lines[-1]})

    def _print_sentence(self, story: Told, event: Event) -> None:
        if not isinstance(event, Chunk):
            return
        said = {STREAMING_NODE: story.sentences, READING_NODE: story.lines}.get(event.node)
        if not said:
            return
        colour = _COLOURS[sum(map(ord, story.id)) % len(_COLOURS)]
        title = story.title if len(story.title) <= _TITLE else f"{story.title[: _TITLE - 1]}…"
        # What is narrated stands beside what is written, and comes while more is written.
        mark, style = ("│ ", "") if said is story.sentences else ("♪ ", "dim italic")
        line = Text.assemble((f"{title:>{_TITLE}} ", colour), (mark, "dim"), (said[-1], style))
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        console.print(line, soft_wrap=not console.is_terminal)


def _progress(stories: Sequence[Told]) -> Text:
    ended = sum(story.ended_at is not None for story in stories)
    sections = sum(story.sections for story in stories)
    sentences = sum(len(story.sentences) for story in stories)
    return Text(f"{ended}/{len(stories)} stories   {sections} sections   {sentences} sentences", style="bold")
