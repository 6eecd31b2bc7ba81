"""A handler that kills its process is failed as poison after a few crashes, and everything beside it finishes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.application.execution.context import context
from beluga_stream.application.worker.notices import Notices
from beluga_stream.domain.definition import MAX_CRASHES, NodeKind, OnFailure
from beluga_stream.ports.handlers import Program
from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.process import current_process
from beluga_stream.testing.simulation import Ended, Start, all_here, play
from tests.simulation.programs import random_program, signals_of
from tests.unit.engines import handler, program
from tests.unit.graphs import edges, node, plan

_DAY_MS = 86_400_000
_QUIET = ClusterOptions(faults=0, crash=0, unavailable=0)

Deaths = list[str]
"""Where each crash happened: the name of the process."""


class Deadly(Exception):
    """What stands for the crash where there is no process to kill: in the local shell."""

    retryable = False


def deadly(deaths: Deaths, after: float) -> Callable[[Any], Awaitable[Any]]:
    """A handler that always kills its process, so many seconds after it has begun."""

    async def kill(value: Any) -> Any:
        await asyncio.sleep(after)
        process = current_process()
        if process is None:
            raise Deadly("it would have killed its process")
        deaths.append(process.name)
        process.kill()
        await asyncio.Event().wait()

    return kill


async def _instead(value: Any) -> str:
    return "instead"


async def _slowly(value: Any) -> Any:
    await asyncio.sleep(random.Random(context().incarnation).uniform(0, 8))
    return value


def poison_program(deaths: Deaths, *, after: float, kind: str = "plain") -> Program:
    """`begin > it > end`, where `it` kills its process; what its failure means depends on the kind."""
    it = node("it", NodeKind.MAP if kind == "map" else NodeKind.TASK)
    if kind == "fallback":
        it = replace(it, has_fallback=True)
    if kind == "continue":
        it = replace(it, on_failure=OnFailure.CONTINUE)
    into = ("input > begin > it > end", "begin > end") if kind == "continue" else ("input > begin > it > end",)
    drawn = plan([node("begin"), it, node("end")], edges(*into), ["end"])
    definition = replace(drawn.definition, name=f"poison-{kind}", timeout_ms=_DAY_MS)
    fallback = handler(_instead) if kind == "fallback" else None
    handlers = {"begin": handler(_slowly), "it": handler(deadly(deaths, after), fallback=fallback)}
    return program(type(drawn)(definition), {**handlers, "end": handler(_slowly)})


def innocents(seed: int) -> list[Start]:
    programs = [random_program(seed * 10 + number, 5) for number in range(2)]
    return [
        Start(each, list(range(65)), f"innocent-{number}", signals=signals_of(each))
        for number, each in enumerate(programs)
    ]


def played(poison: list[Start], seed: int, options: ClusterOptions) -> list[Ended]:
    """How the poisoned runs end; the others must end as they do here, and all alike in status and output."""
    starts = [*poison, *innocents(seed)]
    expected = all_here(starts, seed)
    report = play(starts, seed, options, expected)
    return [report.ended[start.key] for start in poison]


def reason(ended: Ended) -> object:
    return getattr(ended.error, "reason", None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("after", "crashes"), [(0.0, MAX_CRASHES + 1), (5.0, MAX_CRASHES)], ids=["quick", "slow"])
def test_poison_fails_after_a_few_crashes_and_the_others_end_as_they_would(
    seed: int, after: float, crashes: int
) -> None:
    deaths: Deaths = []
    (ended,) = played([Start(poison_program(deaths, after=after), 1, "poison")], seed, _QUIET)
    assert (ended.status, reason(ended)) == ("failed", "poisoned")
    # Quick ones die once before anybody knows that they have begun. The last one dies alone.
    assert len(deaths) == crashes
    assert [name.endswith("-apart") for name in deaths] == [False] * (crashes - 1) + [True]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["fallback", "continue", "map"])
def test_the_failure_of_poison_means_what_failures_mean(seed: int, kind: str) -> None:
    deaths: Deaths = []
    poison = poison_program(deaths, after=1.0, kind=kind)
    (ended,) = played([Start(poison, [1, 2, 3], "poison")], seed, _QUIET)
    assert ended.status == ("failed" if kind == "map" else "succeeded")
    assert len(deaths) <= (MAX_CRASHES + 1) * (3 if kind == "map" else 1)


@pytest.mark.parametrize("seed", range(12))
def test_so_it_is_when_all_else_fails_too(seed: int) -> None:
    deaths: Deaths = []
    (ended,) = played([Start(poison_program(deaths, after=seed % 4), 1, "poison")], seed, ClusterOptions())
    assert (ended.status, reason(ended)) == ("failed", "poisoned")
    assert len(deaths) <= MAX_CRASHES + 1 + ClusterOptions().faults


@pytest.mark.parametrize("seed", range(3))
def test_each_of_many_takes_its_workers_and_no_more(seed: int) -> None:
    deaths: Deaths = []
    poison = poison_program(deaths, after=0.0)
    ends = played([Start(poison, number, f"poison-{number}") for number in range(6)], seed, _QUIET)
    assert {(ended.status, reason(ended)) for ended in ends} == {("failed", "poisoned")}
    assert sum(not name.endswith("-apart") for name in deaths) <= MAX_CRASHES * len(ends)
    # One more for each whose worker died of another before it could tell.
    assert len(ends) <= sum(name.endswith("-apart") for name in deaths) <= 2 * len(ends)


def test_the_notice_that_an_attempt_is_begun_is_what_bounds_its_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notices, "is_begun", lambda self, work: False)
    found: list[int] = []
    for seed in range(6):
        deaths: Deaths = []
        played([Start(poison_program(deaths, after=0.0), 1, "poison")], seed, _QUIET)
        found.append(len(deaths))
    assert max(found) > MAX_CRASHES + 1
