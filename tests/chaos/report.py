"""What a campaign came to, for people and for machines, and whether it holds."""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.campaign import Settled

LEAST: Mapping[str, int] = {
    "paused owners refused by the fence": 5,
    "redeliveries": 1_000,
    "superseded incarnations": 10,
    "recoveries with unconfirmed intents": 5,
}
"""What a long campaign must have seen, or it has shown nothing."""

LONG_MINUTES = 10.0
_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_BAR = 40
_SHOWN_FAULTS = 30


@dataclass(frozen=True, slots=True)
class Report:
    """`minutes` is what was asked for."""

    settled: Settled
    minutes: float

    @property
    def zeros(self) -> Mapping[str, int]:
        """What must be zero."""
        verdict = self.settled.verdict
        return {
            "runs lost": verdict.lost,
            "runs stuck": verdict.stuck,
            "completions applied twice": verdict.applied_twice,
            "chunks lost or out of order": verdict.gaps,
            "wrong inputs or outputs": verdict.wrong_inputs,
            "timers too early": verdict.early,
        }

    @property
    def seen(self) -> Mapping[str, int]:
        """What the harm has led to."""
        settled = self.settled
        counts = (settled.fenced, settled.verdict.redeliveries, settled.verdict.superseded, settled.unconfirmed)
        return dict(zip(LEAST, counts, strict=True))

    @property
    def missed(self) -> list[str]:
        """What was to be seen and was not."""
        if self.minutes < LONG_MINUTES:
            return []
        return [f"only {self.seen[what]} of {least} {what}" for what, least in LEAST.items() if self.seen[what] < least]

    @property
    def holds(self) -> bool:
        return not (self.settled.verdict.faults or self.missed or any(self.zeros.values()))

    def as_json(self) -> Mapping[str, Any]:
        settled, verdict = self.settled, self.settled.verdict
        return {
            "holds": self.holds,
            "seed": settled.seed,
            "seconds": round(settled.seconds, 1),
            "runs": verdict.runs,
            "executions": verdict.executions,
            "zeros": self.zeros,
            "seen": self.seen,
            "injected": settled.injected,
            "strikes": settled.struck,
            "executions_of_nodes": {str(count): nodes for count, nodes in sorted(verdict.executions_of_nodes.items())},
            "faults": [*verdict.faults, *self.missed],
        }

    def lines(self) -> Iterator[str]:
        settled, verdict = self.settled, self.settled.verdict
        yield ""
        yield f"seed {settled.seed}, {settled.seconds:.0f} s: {verdict.runs} runs, {verdict.executions} executions"
        yield "injected: " + ", ".join(f"{count} {kind}" for kind, count in sorted(settled.injected.items()))
        yield ""
        yield from self._recoveries()
        yield ""
        yield "executions of a node      nodes"
        yield from _bars({str(times): nodes for times, nodes in sorted(verdict.executions_of_nodes.items())})
        yield ""
        for what, count in self.seen.items():
            least = f" (at least {LEAST[what]})" if self.minutes >= LONG_MINUTES else ""
            yield f"{count:>8} {what}{least}"
        for what, count in self.zeros.items():
            yield f"{count:>8} {what}"
        for fault in [*verdict.faults[:_SHOWN_FAULTS], *self.missed]:
            yield f"    {fault}"
        if len(verdict.faults) > _SHOWN_FAULTS:
            yield f"    and {len(verdict.faults) - _SHOWN_FAULTS} faults more"
        yield "everything holds" if self.holds else "NOT everything holds"

    def _recoveries(self) -> Iterator[str]:
        times: dict[str, list[float]] = defaultdict(list)
        for strike in self.settled.struck:
            if strike.recovery is not None:
                times[strike.kind].append(strike.recovery)
        yield "time to recover      times   median      most"
        for kind, seconds in sorted(times.items()):
            yield f"  {kind:<18} {len(seconds):>5} {statistics.median(seconds):>7.1f}s {max(seconds):>8.1f}s"
        yield "time to recover           times"
        every = [one for seconds in times.values() for one in seconds]
        edges = [0.0, *_BOUNDS]
        counts = {
            f"{low:g} to {high:g} s": sum(low <= one < high for one in every) for low, high in itertools.pairwise(edges)
        }
        yield from _bars({**counts, f"{edges[-1]:g} s and more": sum(one >= edges[-1] for one in every)})


def _bars(counts: Mapping[str, int]) -> Iterator[str]:
    most = max(counts.values(), default=0) or 1
    for name, count in counts.items():
        yield f"  {name:<18} {count:>10} {'#' * round(_BAR * count / most)}"
