"""A circuit breaker as a pure state machine: closed, open, half-open (Nygard, Release It!, 2007).

So many failures in a row open it, and calls are refused. After a while one call is let through as a trial: its success
closes the circuit, its failure opens it anew. Times are milliseconds since the epoch.
"""

from dataclasses import dataclass, replace
from typing import Literal

CircuitState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """`failures` in a row open it; a trial is let through after `reset_after_ms`."""

    failures: int
    reset_after_ms: int


@dataclass(frozen=True, slots=True)
class Circuit:
    """`failures` in a row so far; when it `opened_ms`; when the trial that is going on began (`trial_ms`)."""

    failures: int = 0
    opened_ms: int | None = None
    trial_ms: int | None = None


CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class Admission:
    """What a call is told: it goes on, as a trial if it has a `trial_ms`, or is refused for `wait_ms` more."""

    wait_ms: int | None = None
    trial_ms: int | None = None


def state_of(circuit: Circuit, rules: CircuitRules, now_ms: int) -> CircuitState:
    """What it is at this time."""
    if circuit.opened_ms is None:
        return "closed"
    return "open" if _left(circuit.opened_ms, rules, now_ms) else "half_open"


def admit(circuit: Circuit, rules: CircuitRules, now_ms: int) -> tuple[Circuit, Admission]:
    """Whether a call may go on. A trial that has not ended in time has lost its process: another one follows."""
    if circuit.opened_ms is None:
        return circuit, Admission()
    left = _left(circuit.opened_ms, rules, now_ms)
    if not left and circuit.trial_ms is not None:
        left = _left(circuit.trial_ms, rules, now_ms)
    if left:
        # A clock that was set back since it opened would keep it open for that much longer: what is left counts anew.
        return replace(circuit, opened_ms=min(circuit.opened_ms, now_ms)), Admission(wait_ms=left)
    return replace(circuit, trial_ms=now_ms), Admission(trial_ms=now_ms)


def succeeded(circuit: Circuit, admission: Admission) -> Circuit:
    """After a call that went well. One from before the circuit opened says nothing about what is now."""
    if circuit.opened_ms is None or _is_trial(circuit, admission):
        return CLOSED
    return circuit


def failed(circuit: Circuit, admission: Admission, rules: CircuitRules, now_ms: int) -> Circuit:
    """After a call that failed."""
    if circuit.opened_ms is None:
        failures = circuit.failures + 1
        return Circuit(failures, now_ms if failures >= rules.failures else None)
    if _is_trial(circuit, admission):
        return replace(circuit, opened_ms=now_ms, trial_ms=None)
    return circuit


def left(circuit: Circuit, admission: Admission) -> Circuit:
    """After a call that was given up, and says nothing: another trial may come at once."""
    return replace(circuit, trial_ms=None) if _is_trial(circuit, admission) else circuit


def _is_trial(circuit: Circuit, admission: Admission) -> bool:
    return admission.trial_ms is not None and admission.trial_ms == circuit.trial_ms


def _left(since_ms: int, rules: CircuitRules, now_ms: int) -> int:
    """Milliseconds until the reset. What lies in the future by more than that was stamped by a clock gone wrong."""
    gone = now_ms - since_ms
    return rules.reset_after_ms - max(gone, 0) if -rules.reset_after_ms <= gone < rules.reset_after_ms else 0
