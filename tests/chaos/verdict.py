"""The verdict on a round: ledger and log against what must hold, whatever was killed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import convert

from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.ids import NodeKey, RunId, child_run_id
from beluga_stream.domain.payload import Payload
from tests.chaos.ledger import LedgerReader, Line
from tests.chaos.observer import RUN_ENDED, Accepted, Observer, Told
from tests.chaos.started import Started
from tests.chaos.wiring import ASLEEP, CHILDREN, EITHER, FINISH, INPUT, SIGNALLED, WIRING


@dataclass(slots=True)
class Verdict:
    """What was found. Nothing in `faults` means that all of it holds."""

    runs: int = 0
    executions: int = 0
    executed_again: int = 0
    """Executions beyond the first of a node, in the ledger, without the retries of those that raised."""
    sent_again: int = 0
    """Dispatches, outcomes and statuses that the log holds more than once."""
    lost: int = 0
    stuck: int = 0
    applied_twice: int = 0
    wrong_inputs: int = 0
    gaps: int = 0
    early: int = 0
    """Timers that fired before they were due."""
    superseded: int = 0
    """Incarnations of streaming nodes that had told chunks and gave way to another."""
    executions_of_nodes: Counter[int] = field(default_factory=Counter)
    """How many nodes were executed once, twice, and so on."""
    faults: list[str] = field(default_factory=list)

    @property
    def redeliveries(self) -> int:
        return self.executed_again + self.sent_again


class Judge:
    """Judges some runs. Both sources must have been read to their ends."""

    def __init__(self, observer: Observer, ledger: LedgerReader, started: Iterable[Started], blobs: Path) -> None:
        self._observer = observer
        self._ledger = ledger
        self._payloads = Payloads(FileBlobs(str(blobs)))
        self._verdict = Verdict()
        self._started = list(started)
        self._runs = {start.run: start for start in self._started} | dict(self._children())
        self._lines: dict[str, list[Line]] = defaultdict(list)
        for (run, _), lines in ledger.executions.items():
            if run in self._runs:
                self._lines[run].extend(lines)
        self._outputs: dict[str, dict[str, Any]] = {}
        """Run -> node -> the value that was accepted."""

    async def judge(self) -> Verdict:
        verdict = self._verdict
        verdict.runs = len(self._started)
        for run in self._runs:
            self._judge_end(run)
            self._outputs[run] = await self._accepted_outputs(run)
        for run in self._runs:
            await self._judge_output(run)
            self._judge_executions(run)
            self._judge_signal(run)
            self._judge_sleep(run)
            await self._judge_chunks(run)
        self._count_repeats()
        verdict.faults += [f"rejected: {told}" for told in self._observer.rejected]
        verdict.faults += [f"dead letter: {told}" for told in self._observer.dead_letters]
        return verdict

    def _children(self) -> Iterator[tuple[str, Started]]:
        for start in self._started:
            if start.graph in CHILDREN:
                node, graph, _ = CHILDREN[start.graph]
                child = child_run_id(RunId(start.run), NodeKey(node))
                yield str(child), Started(str(child), graph, start.run)

    def _told(self, run: str) -> list[Told]:
        return self._observer.told_of(run)

    def _judge_end(self, run: str) -> None:
        told = self._observer.runs.get(run)
        start = self._runs[run]
        if told is None or not told.statuses:
            self._verdict.lost += 1
            self._fault(run, "was lost: no reader was ever told of it")
            return
        results = [line for line in self._ledger.results[run] if line.output in RUN_ENDED]
        if not told.ends:
            self._verdict.stuck += 1
            newest = {status[0]: status for _, status in sorted(told.statuses.items())}
            self._fault(run, f"({start.graph}) is stuck: {list(newest.values())}")
        elif len(told.ends) > 1 or len(results) != 1 or max(told.statuses) > told.ends[0][0]:
            self._verdict.applied_twice += 1
            self._fault(run, f"went on after its end: {told.ends}, in the ledger {results}, {told.statuses}")
        elif told.ends[0][1] not in start.may_end_as:
            self._verdict.lost += 1
            self._fault(run, f"({start.graph}) ended as {told.ends[0][1]}: {told.ends[0][3]}")
        for part in self._told(run):
            for contradiction in part.contradictions:
                self._verdict.applied_twice += 1
                self._fault(run, contradiction)

    async def _accepted_outputs(self, run: str) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for told in self._told(run):
            is_page = told is not self._observer.runs.get(run)
            for node, accepted in told.accepted.items():
                if len(accepted) > 1:
                    self._verdict.applied_twice += 1
                    self._fault(run, f"node {node} succeeded {len(accepted)} times: {accepted}")
                if not is_page or "[" in node:
                    outputs[node] = await self._value(accepted[0].output)
        return outputs

    async def _value(self, payload: Any) -> Any:
        return None if payload is None else await self._payloads.load(convert(payload, Payload))

    async def _judge_output(self, run: str) -> None:
        told = self._observer.runs.get(run)
        if told is None or len(told.ends) != 1 or told.ends[0][1] != "succeeded":
            return
        output = await self._value(told.ends[0][2])
        accepted = self._outputs[run].get(FINISH[self._runs[run].graph])
        if output is None or output != accepted:
            self._wrong(run, f"its output is {output!r}, and its last node's {accepted!r}")

    def _judge_executions(self, run: str) -> None:
        """Every execution was given what was accepted, the superseded ones too, and gave what was."""
        ends: dict[str, Line] = {}
        begun: Counter[str] = Counter()
        for line in self._lines[run]:
            if line.kind == "end":
                ends[line.incarnation] = line
                continue
            self._verdict.executions += 1
            begun[line.node] += 1
            for parameter, value in line.inputs.items():
                for fault in self._input_faults(run, line, parameter, value):
                    self._wrong(run, fault)
        # A handler that raised is tried again by right; whatever else began twice was delivered twice.
        self._verdict.executions_of_nodes.update(begun.values())
        raised = Counter(line.node for line in ends.values() if line.output is None)
        self._verdict.executed_again += sum(count - 1 - raised[node] for node, count in begun.items())
        for told in self._told(run):
            for node, accepted in told.accepted.items():
                if _has_handler(self._runs[run].graph, node):
                    self._judge_accepted(run, node, accepted[0], ends)

    def _judge_accepted(self, run: str, node: str, accepted: Accepted, ends: Mapping[str, Line]) -> None:
        if accepted.output is None:
            # Told again after a crash, when the run keeps the outputs of its map's items in one list.
            return
        line = ends.get(accepted.incarnation or "")
        value = self._outputs[run].get(node)
        if line is None or line.node != node or line.output != value:
            self._wrong(run, f"{node}: {value!r} was accepted from {accepted.incarnation}, whose end is {line}")

    def _input_faults(self, run: str, line: Line, parameter: str, value: Any) -> Iterator[str]:
        start = self._runs[run]
        name, index = _split(line.node)
        source = WIRING[start.graph][name][parameter]
        outputs = self._outputs[run]
        if "#" in line.node and index > 1:
            source, wanted = f"{name}#{index - 1}", outputs.get(f"{name}#{index - 1}")
            if wanted is None:
                # A pass whose output was told without it, after a crash: its execution must have given it.
                given = [past.output for past in self._lines[run] if past.node == source]
                wanted = value if value in given else None
        elif source == INPUT:
            wanted = self._input_of(start)
        elif source in EITHER:
            wanted = next((outputs[name] for name in EITHER[source] if name in outputs), None)
        else:
            wanted = outputs.get(source)
        if "[" in line.node and isinstance(wanted, list):
            wanted = wanted[index]
        if wanted is None or value != wanted:
            yield f"{line.node} was given {value!r} as {parameter}, and {source} gave {wanted!r}"

    def _input_of(self, start: Started) -> Any:
        parent = self._runs.get(start.input)
        if parent is None:
            return start.input
        return self._outputs[parent.run].get(CHILDREN[parent.graph][2])

    def _judge_signal(self, run: str) -> None:
        """What a run waited for is what it was signalled."""
        start = self._runs[run]
        node = SIGNALLED.get(start.graph)
        given = None if node is None else self._outputs[run].get(node)
        if given is not None and given != start.signal:
            self._wrong(run, f"it was signalled {start.signal!r}, and {node} gave {given!r}")

    def _judge_sleep(self, run: str) -> None:
        """Nothing that waits for a sleep begins before it is over."""
        asleep = ASLEEP.get(self._runs[run].graph)
        if asleep is None:
            return
        before, after, seconds = asleep
        ended = [line.at_ms for line in self._lines[run] if line.node == before and line.kind == "end"]
        begun = [line.at_ms for line in self._lines[run] if line.node == after and line.kind == "begin"]
        if begun and (not ended or min(begun) < min(ended) + seconds * 1000):
            self._verdict.early += 1
            self._fault(run, f"{after} began at {min(begun)}, and {before} ended at {min(ended, default=None)}")

    async def _judge_chunks(self, run: str) -> None:
        """The winner's chunks are all in the log, in order, none missing, and are its output."""
        for told in self._told(run):
            incarnations = Counter(node for node, _ in told.chunks)
            self._verdict.superseded += sum(count - 1 for count in incarnations.values())
            for node, accepted in told.accepted.items():
                if accepted[0].chunks is None:
                    continue
                found: dict[int, Any] = {}
                for seq, value in told.chunks.get((node, accepted[0].incarnation or ""), ()):
                    if seq > len(found):
                        self._gap(run, f"{node}: chunk {seq} came after {len(found)} chunks")
                    found.setdefault(seq, value)
                values = [await self._value(found[seq]) for seq in sorted(found)]
                if len(found) != accepted[0].chunks or values != self._outputs[run].get(node):
                    self._gap(run, f"{node}: {accepted[0].chunks} chunks won, and the log has {values}")

    def _count_repeats(self) -> None:
        observer = self._observer

        def mine(run: str) -> bool:
            return run.partition(".")[0] in self._runs

        again = sum(count - 1 for (run, *_), count in observer.dispatches.items() if mine(run))
        again += sum(count - 1 for (run, *_), count in observer.outcomes.items() if mine(run))
        again += sum(count for run, count in observer.repeated_statuses.items() if mine(run))
        self._verdict.sent_again = again

    def _wrong(self, run: str, what: str) -> None:
        self._verdict.wrong_inputs += 1
        self._fault(run, what)

    def _gap(self, run: str, what: str) -> None:
        self._verdict.gaps += 1
        self._fault(run, what)

    def _fault(self, run: str, what: str) -> None:
        self._verdict.faults.append(f"run {run} {what}")


def _split(key: str) -> tuple[str, int]:
    """Name and index of a map item, name and number of a loop pass."""
    for mark in "[#":
        name, found, index = key.partition(mark)
        if found:
            return name, int(index.rstrip("]"))
    return key, 0


def _has_handler(graph: str, node: str) -> bool:
    """Items and passes have one, their map or loop has not; nor has a subgraph's or a select's node."""
    name = node.partition("[")[0].partition("#")[0]
    if ":" in node or name not in WIRING[graph]:
        return False
    return name not in ("each", "turn") or name != node
