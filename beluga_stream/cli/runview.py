"""A run as its reader sees it: a tree of nodes, folded from events, and lines of what streams."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rich.text import Text
from rich.tree import Tree

from ..application.clients.results import Chunk, Event, NodeChanged, RunChanged, StartRejected, Superseded
from ..domain.ids import NodeKey, node_of
from .screen import duration, pretty, sign, styled

_ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})
_NOT_BEGUN = frozenset({"requested", "rejected"})
_TOKEN = 20
"""A text chunk below this many letters is a part of a line; above, it is one."""
_LINE = 100


@dataclass(slots=True)
class _Place:
    """One node key: its status, attempt and times."""

    status: str = "pending"
    attempt: int = 0
    began_ms: int = 0
    ended_ms: int | None = None
    chunks: int = 0
    said: str = ""

    @property
    def took_ms(self) -> int | None:
        return None if self.ended_ms is None else self.ended_ms - self.began_ms


@dataclass(slots=True)
class _Group:
    """A node with its own place, and those of its items, pages or passes."""

    own: _Place = field(default_factory=_Place)
    parts: dict[str, _Place] = field(default_factory=dict)


class RunView:
    """Folds a run's events. `apply` gives the lines worth printing at once, `tree` the whole."""

    def __init__(self, run: str, graph: str = "") -> None:
        self.run = run
        self.graph = graph
        self.status = "requested"
        self.failure = ""
        self._began_ms = 0
        self._ended_ms: int | None = None
        self._nodes: dict[str, _Group] = {}
        self._begun_lines: dict[str, str] = {}

    @property
    def took_ms(self) -> int | None:
        return None if self._ended_ms is None else self._ended_ms - self._began_ms

    def apply(self, event: Event) -> list[Text]:
        """Take one event; return what is new to print, chunks and changes in order."""
        return list(self._lines(event))

    def apply_at(self, event: Event, at_ms: int) -> None:
        """Take an event that was read without its time."""
        self.apply(replace(event, at_ms=at_ms))

    def nodes_json(self) -> list[dict[str, object]]:
        """Every node as it stands, for machines."""
        return [
            {
                "node": key,
                "status": place.status,
                "attempt": place.attempt,
                "chunks": place.chunks,
                "took_ms": place.took_ms,
                "error": place.said or None,
            }
            for name, group in self._nodes.items()
            for key, place in [(name, group.own), *group.parts.items()]
        ]

    def tree(self) -> Tree:
        """The run and its nodes as they stand."""
        title = Text.assemble(styled(self.status), "  ", (self.graph or "run", "bold"), " ", (self.run, "dim"))
        if self.took_ms is not None:
            title.append(f"  {duration(self.took_ms)}", "dim")
        drawn = Tree(title, guide_style="dim")
        for name, group in self._nodes.items():
            drawn.add(self._row(name, group))
        if self.failure:
            drawn.add(Text(self.failure, style="red"))
        return drawn

    def _lines(self, event: Event) -> Iterator[Text]:
        match event:
            case Chunk():
                self._place(event.node).chunks += 1
                yield from self._chunk(event.node, event.value)
            case Superseded():
                self._begun_lines.pop(event.node, None)
                self._place(event.node).chunks = 0
                yield _labelled(event.node, "starts again: what it has streamed so far is void", "yellow")
            case NodeChanged():
                yield from self._flush(event.node)
                yield from self._node(event)
            case RunChanged():
                if not self._began_ms:
                    self._began_ms = event.at_ms
                self.status = event.status
                self._ended_ms = event.at_ms if event.ended else None
                self.failure = "" if event.failure is None else event.failure.message
                yield Text.assemble(styled(event.status), "  ", (f"{self.graph} {self.run}".strip(), "dim"))
            case StartRejected() if self.status in _NOT_BEGUN:  # else somebody gave its key with another input
                self.status, self.failure = "rejected", event.message
            case _:
                return

    def _node(self, event: NodeChanged) -> Iterator[Text]:
        place = self._place(event.node)
        place.status, place.attempt = event.status, event.attempt
        place.said = "" if event.failure is None else event.failure.message
        if event.status in _ENDED:
            place.ended_ms = event.at_ms
            place.began_ms = place.began_ms or event.at_ms
        else:
            place.ended_ms = None
            if event.status in ("ready", "running", "waiting") and not place.began_ms:
                place.began_ms = event.at_ms
        is_part = node_of(NodeKey(event.node)) != event.node
        if (event.status in _ENDED and not is_part) or event.status in (
            "backoff",
            "parked",
            "waiting",
            "failed",
        ):
            yield self._row(event.node, _Group(place))

    def _chunk(self, node: str, value: object) -> Iterator[Text]:
        """Sentences and records are lines; tokens gather until they make one."""
        if not isinstance(value, str):
            yield from self._flush(node)
            yield _labelled(node, " ".join(pretty(value).split()))
            return
        text = self._begun_lines.get(node, "") + value
        if len(value) >= _TOKEN or len(text) >= _LINE or "\n" in text:
            self._begun_lines.pop(node, None)
            yield _labelled(node, text.strip())
        else:
            self._begun_lines[node] = text

    def _flush(self, node: str) -> Iterator[Text]:
        text = self._begun_lines.pop(node, "")
        if text.strip():
            yield _labelled(node, text.strip())

    def _place(self, key: str) -> _Place:
        name = node_of(NodeKey(key))
        group = self._nodes.setdefault(name, _Group())
        return group.own if name == key else group.parts.setdefault(key, _Place())

    def _row(self, name: str, group: _Group) -> Text:
        place = group.own
        row = Text.assemble(sign(place.status), " ", name)
        if group.parts:
            counts = Counter(part.status for part in group.parts.values())
            done = sum(counts[status] for status in _ENDED)
            row.append(f"  {done}/{len(group.parts)}", "cyan")
            row.append(f" {counts['failed']} failed" if counts["failed"] else "", "red")
        if place.chunks:
            row.append(f"  {place.chunks} chunks", "cyan")
        if place.attempt > 1:
            row.append(f"  attempt {place.attempt}", "yellow")
        if place.took_ms is not None and place.status != "skipped":
            row.append(f"  {duration(place.took_ms)}", "dim")
        elif place.status not in ("succeeded", "pending"):
            row.append(f"  {place.status}", "dim")
        if place.said:
            row.append(f"  {place.said}", "red")
        return row


def _labelled(node: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{node} │ ", "dim"), (text, style))
