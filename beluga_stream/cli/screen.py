"""How things look: one console, one set of signs, one way to write times and JSON."""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .plain import escaped, plain

_FILE_WIDTH = 160
"""Columns where there is no terminal to ask: a pipe or a file."""


class _Screen(Console):
    """Shows what others have written without letting it steer the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


console = _Screen(highlight=False, markup=False, emoji=False)
"""What it prints is data, which is shown as it is: no `[...]` or `:...:` in it means anything."""

if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = _FILE_WIDTH
_WIDE = 120
_NARROW = 80
"""Below so many columns even ids are folded: there is no room beside them."""
_SECOND_MS = 1_000
_MINUTE_MS = 60_000

SIGNS = {
    "requested": ("·", "dim"),
    "pending": ("·", "dim"),
    "limited": ("◷", "magenta"),
    "ready": ("◌", "cyan"),
    "running": ("●", "cyan"),
    "compensating": ("↺", "yellow"),
    "backoff": ("↻", "yellow"),
    "waiting": ("⏸", "magenta"),
    "parked": ("⏸", "yellow"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "rejected": ("✗", "red"),
    "skipped": ("○", "dim"),
    "cancelled": ("⊘", "yellow"),
}


OK = Text("✓", style="green")
WARN = Text("!", style="yellow")
BAD = Text("✗", style="red")


def sign(status: str) -> Text:
    """A status as one coloured sign."""
    shown, style = SIGNS.get(status, ("?", "dim"))
    return Text(shown, style=style)


def styled(status: str) -> Text:
    """A status as a sign and a word."""
    return Text.assemble(sign(status), " ", (status, SIGNS.get(status, ("", ""))[1]))


def duration(ms: float | None) -> str:
    """A time span as short as can be read."""
    if ms is None:
        return "-"
    if ms < _SECOND_MS:
        return f"{ms:.0f} ms"
    if ms < _MINUTE_MS:
        return f"{ms / _SECOND_MS:.1f} s"
    return f"{ms / _MINUTE_MS:.1f} min"


def moment(ms: int) -> str:
    """A point in time, in this machine's zone."""
    return datetime.fromtimestamp(ms / _SECOND_MS, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment_cell(ms: int) -> str:
    """A point in time for a table: without year and seconds where there is little room."""
    return moment(ms) if has_room() else moment(ms)[5:-3]


def has_room() -> bool:
    """Whether a table may have a column more than it must."""
    return console.width >= _WIDE


def counted(number: int, what: str) -> str:
    """So many of what is regular in the plural."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def short(text: str, letters: int) -> str:
    """The beginning of a text, in one line of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"{line[: letters - 1].rstrip()}…"


def table(*columns: str) -> Table:
    """A plain table: no lines but one under the heads. Columns are aligned right after a `>`.

    What is behind a `#` stays in one line, as an id must that somebody copies; other columns shrink for it.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column.lstrip(">#"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column.startswith("#") and console.width >= _NARROW,
            overflow="fold",
        )
    return made


def print_json(value: Any) -> None:
    """One JSON document: indented on a terminal, else compact on one line."""
    style = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    _write(orjson.dumps(value, default=str, option=style))


def print_line(value: Any) -> None:
    """One line of JSON, at once: somebody may be reading the stream."""
    _write(orjson.dumps(value, default=str))


def pretty(value: Any) -> str:
    """A JSON value for people."""
    return escaped(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode())


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()
