"""The one screen of `beluga dev`: runs, chunks, dead letters, and the engine's log."""

import re
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..application.messages import Progress
from ..domain.state import NODE_ENDED, RUN_ENDED
from ..ports.log import Record
from .screen import console, duration, print_line, sign, styled, table

_SHOWN_RUNS = 10
_SHOWN_LINES = 8
_KEPT_RUNS = 1_000
_RATE_SECONDS = 2.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BANNER = re.compile(r"\+?ƒaµS†|[+|][ -]|.{0,3}OK \^")
"""What Faust prints before it starts."""
_ENDS = ("succeeded", "failed", "cancelled")
_STATES = {"running": "green", "restarting": "yellow", "stopped": "red"}


@dataclass(slots=True)
class _Run:
    id: str
    graph: str
    status: str = "requested"
    began_ms: int = 0
    ended_ms: int | None = None
    nodes: int = 0


class DevScreen:
    """Counts and shows. On a terminal one live screen; without one, or as JSON, a line for each thing."""

    def __init__(self, broker: str, agents: str, *, as_json: bool) -> None:
        self._broker = broker
        self._agents = agents
        self._as_json = as_json
        self._engine = ("starting", "")
        self._page = ""
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._counts = {"started": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
        self._nodes = 0
        self._chunks = 0
        self._chunk_times: deque[float] = deque(maxlen=100_000)
        self._dead = 0
        self._lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if console.is_terminal and not self._as_json:
            self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8)
            self._live.start()
        else:
            self.tell(f"broker {self._broker}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tell(self, line: str) -> None:
        """One line of what is going on."""
        self._lines.append(line)
        self._say("note", line)

    def page_is(self, url: str) -> None:
        """Where the gateway serves the page of runs."""
        self._page = f"   runs at {url}"
        self._say("page", f"runs at {url}")

    def engine_is(self, state: str, said: str) -> None:
        self._engine = (state, said)
        self._say("engine", f"engine {state}: {said}")

    def log(self, line: str) -> None:
        """A line of the engine's log."""
        text = _CONTROL.sub("", line).rstrip()
        if text and not _BANNER.match(text):
            self.tell(text)

    def chunk(self) -> None:
        self._chunks += 1
        self._chunk_times.append(time.monotonic())

    def progress(self, progress: Progress) -> None:
        """A run or its nodes have changed."""
        run = self._runs.get(str(progress.run))
        if run is None:
            run = self._runs[str(progress.run)] = _Run(str(progress.run), progress.graph)
            if len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        ended = sum(change.status in NODE_ENDED for change in progress.nodes)
        run.nodes += ended
        self._nodes += ended
        if progress.status is None or progress.status.status == run.status:
            return
        run.status = progress.status.status
        if run.status in RUN_ENDED:
            run.ended_ms = progress.at_ms
            self._counts[run.status] += 1
        elif not run.began_ms:
            self._counts["started"] += 1
        run.began_ms = run.began_ms or progress.at_ms
        failure = progress.status.failure
        why = "" if failure is None else f": {failure.message}"
        self._say("run", f"{run.status} {run.graph} {run.id}{why}")

    def dead_letter(self, record: Record, message: str) -> None:
        self._dead += 1
        self._say("dead_letter", f"dead letter {record.partition}-{record.offset}: {message}")

    def draw(self) -> None:
        """Forget what the rate does not need any more."""
        horizon = time.monotonic() - _RATE_SECONDS
        while self._chunk_times and self._chunk_times[0] < horizon:
            self._chunk_times.popleft()

    def _say(self, kind: str, line: str) -> None:
        if self._as_json:
            print_line({"type": kind, "message": line})
        elif self._live is None:
            console.print(line, soft_wrap=True)

    def _render(self) -> RenderableType:
        self.draw()
        state, said = self._engine
        rate = len(self._chunk_times) / _RATE_SECONDS
        head = Text.assemble(
            ("beluga dev", "bold"),
            f"   broker {self._broker}{self._page}\n",
            "engine ",
            (state, _STATES.get(state, "cyan")),
            (f"  {said}   graphs in {self._agents}   Ctrl-C stops everything\n", "dim"),
        )
        counts = Text.assemble(
            (f"{self._counts['started']}", "bold"),
            " runs started   ",
            *(part for name in _ENDS for part in (sign(name), f" {self._counts[name]} {name}   ")),
            f"{self._nodes} nodes   {self._chunks} chunks ({rate:.0f}/s)   ",
            (f"{self._dead} dead letters", "red" if self._dead else "dim"),
            "\n",
        )
        runs = table("#run", "graph", "#status", ">nodes", ">took")
        for run in list(self._runs.values())[: -_SHOWN_RUNS - 1 : -1]:
            took = duration(None if run.ended_ms is None else run.ended_ms - run.began_ms)
            runs.add_row(run.id, run.graph, styled(run.status), str(run.nodes), took)
        hint = Text("no runs yet: try `beluga run GRAPH JSON` in another terminal", style="dim")
        lines = Text("\n".join(["", *self._lines]), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(head, counts, runs if self._runs else hint, lines)
