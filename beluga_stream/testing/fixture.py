"""The pytest fixture `simulate`: one run of a user's graph on a simulated engine."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import pytest

from ..api.compile import with_fakes
from ..api.handler import origin_of
from ..api.signal import Signal, dumped
from ..api.work import Work
from ..application.clients.signalling import check_awaited
from ..application.execution.context import context
from ..application.execution.conversion import input_json
from ..errors import BelugaError, InvalidState
from ..ports.handlers import Handler, Program
from .simulation import Start, play

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741

Effects = Mapping[Callable[..., Any], list[str]]


@dataclass(frozen=True)
class Outcome(Generic[O]):
    """How the run ended: `succeeded`, `failed` or `cancelled`."""

    status: str
    _result: O | None
    _error: BelugaError | None
    _effects: Effects

    @property
    def result(self) -> O:
        """The output. Raises what made the run fail."""
        if self.status != "succeeded":
            raise self._error or InvalidState(f"the run ended as {self.status}")
        return self._result  # type: ignore[return-value]  # one that succeeded has it, though it be None

    def effects(self, handler: Callable[..., Any]) -> list[str]:
        """The idempotency key of every call of a handler (or of its fake), repeated calls too."""
        return list(self._effects.get(handler, ()))


class Simulate(Protocol):
    """What the fixture `simulate` gives."""

    def __call__(
        self,
        graph: Work[I, O],
        input: I,  # noqa: A002 - the field's name for it
        *,
        seed: int,
        fakes: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
        signals: Mapping[Signal[Any], object] | None = None,
    ) -> Outcome[O]:
        """Run a graph once.

        Raises `InvalidInput` for an input that fails its type and for a signal that nothing waits for, and `Broken`,
        with the seed, when the engine itself did wrong.
        """


@pytest.fixture
def simulate() -> Simulate:
    """See `Simulate`."""
    return _simulate


def _simulate(
    graph: Work[I, O],
    input: I,  # noqa: A002 - the field's name for it
    *,
    seed: int,
    fakes: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
    signals: Mapping[Signal[Any], object] | None = None,
) -> Outcome[O]:
    original = graph.compile()
    input_json(original, input)  # what is no input is the test's mistake, and none of the engine's
    effects: dict[Callable[..., Any], list[str]] = defaultdict(list)
    program = _recording(with_fakes(original, fakes or {}), original, effects)
    sent = dumped(signals or {})
    check_awaited(program, sent)
    ended = play([Start(program, input, key="simulated", signals=sent)], seed).ended["simulated"]
    result = program.output.validate_python(ended.result) if ended.status == "succeeded" else None
    return Outcome(ended.status, result, ended.error, effects)


def _recording(program: Program, original: Program, effects: Mapping[Callable[..., Any], list[str]]) -> Program:
    """The program, noting each call under the function that the user knows."""
    return replace(
        program,
        handlers={
            name: _noting(handler, effects[origin_of(original.handlers[name].call)])
            for name, handler in program.handlers.items()
        },
        children={
            found: _recording(child, original.children[found], effects) for found, child in program.children.items()
        },
    )


def _noting(handler: Handler, calls: list[str]) -> Handler:
    def noted(*arguments: Any, **resources: Any) -> Any:
        calls.append(context().idempotency_key)
        return handler.call(*arguments, **resources)

    return replace(handler, call=noted)
