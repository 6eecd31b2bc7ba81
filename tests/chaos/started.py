"""A run that somebody asked for, as the ledger has it, and how it may end."""

from dataclasses import dataclass

from tests.chaos.ledger import Line

_MAY_BE_CANCELLED = frozenset({"doomed"})


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was accepted, with what, and the value that it is to be signalled."""

    run: str
    graph: str
    input: str
    signal: str | None = None

    @classmethod
    def of(cls, line: Line) -> "Started":
        return cls(line.run, line.graph, line.inputs["input"], line.inputs.get("signal"))

    @property
    def may_end_as(self) -> frozenset[str]:
        """A cancel may come too late."""
        return frozenset({"succeeded", "cancelled"} if self.graph in _MAY_BE_CANCELLED else {"succeeded"})
