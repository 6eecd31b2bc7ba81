"""How much a run may take."""

from dataclasses import dataclass
from typing import cast

from ..errors import InvalidConfig, InvalidGraph
from .transcript import Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens and money that one run may take; None: no bound. Raises `InvalidConfig` for a bound that is not above 0.

    It is checked between turns: the turn that exceeds it is the last one, and the run succeeds with what it has,
    `stopped="budget"`.
    """

    tokens: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name, most in (("tokens", self.tokens), ("cost", self.cost)):
            # NaN is not above 0 either.
            if most is not None and not (isinstance(cast("object", most), int | float) and most > 0):
                raise InvalidConfig(f"Budget({name}={most!r}): give a number, more than 0, or leave it out")

    def is_spent(self, usage: Usage) -> bool:
        """Whether nothing is left."""
        return (self.tokens is not None and usage.tokens >= self.tokens) or (
            self.cost is not None and usage.cost >= self.cost
        )


def check_budget(graph: str, budget: object) -> None:
    """Raises `InvalidGraph` for what is no budget; None is none."""
    if budget is not None and not isinstance(budget, Budget):
        raise InvalidGraph(f"graph {graph!r}: budget={budget!r} is no Budget: give Budget(tokens=...)", graph=graph)
