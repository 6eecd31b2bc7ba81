"""Figures and their targets, as a table for people and as JSON for machines."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Without a target it is there to explain the others."""

    name: str
    value: float
    unit: str
    target: float | None = None
    wanted: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.wanted == "at most" else self.value >= self.target


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def median_of(rounds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The same figures of several rounds as one each: the median, with all of them in the note."""
    merged: list[Figure] = []
    for same in zip(*rounds, strict=True):
        first = same[0]
        values = [figure.value for figure in same]
        told = "" if len(values) == 1 else "rounds " + ", ".join(shown(value) for value in values)
        note = "; ".join(part for part in (first.note, told) if part)
        merged.append(Figure(first.name, statistics.median(values), first.unit, first.target, first.wanted, note))
    return merged


def shown(value: float) -> str:
    """A number with as many digits as anybody wants to read."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_table(figures: Sequence[Figure], conditions: dict[str, Any]) -> None:
    """Print everything."""
    console = Console()
    table = Table(title="beluga_stream", title_justify="left")
    for heading in ("figure", "value", "target", "", "note"):
        table.add_column(heading, justify="right" if heading in {"value", "target"} else "left")
    marks = {True: "[green]met[/]", False: "[bold red]not met[/]", None: ""}
    for figure in figures:
        target = "" if figure.target is None else f"{figure.wanted} {shown(figure.target)}"
        table.add_row(figure.name, f"{shown(figure.value)} {figure.unit}", target, marks[figure.met], figure.note)
    console.print(table)
    for name, value in conditions.items():
        console.print(f"[dim]{name}:[/] {value}", highlight=False)
    judged = [figure.met for figure in figures if figure.met is not None]
    console.print(f"{sum(judged)} of {len(judged)} targets met")


def as_json(figures: Sequence[Figure], conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything as a JSON tree."""
    return {
        "conditions": conditions,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
    }
