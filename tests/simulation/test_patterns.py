"""Agents take turns on an engine that fails as a seed decides: what they say is as if nothing had happened."""

import pytest

from beluga_stream import Retry
from beluga_stream.patterns import Assign, Finish, Transcript, router, supervisor
from beluga_stream.testing import Simulate, simulate
from tests.simulation.seeds import SIDE_SEEDS

__all__ = ["simulate"]  # the fixture

every_seed = pytest.mark.parametrize("seed", range(min(25, max(4, SIDE_SEEDS // 20))))


def lead(transcript: Transcript) -> Assign | Finish:
    if len(transcript.turns) == 4:
        return Finish(answer=transcript.turns[-1].text)
    return Assign(to="one" if not transcript.turns else "two", task=f"at {len(transcript.turns)}")


async def one(transcript: Transcript) -> str:
    return f"one after {transcript.turns[-1].text}"


async def two(transcript: Transcript) -> str:
    return f"two after {len(transcript.turns)} turns"


@every_seed
def test_a_supervised_team_takes_each_turn_once(simulate: Simulate, seed: int) -> None:
    team = supervisor("team", lead, {"one": one, "two": two}, retry=Retry(3, first=0.1))
    outcome = simulate(team, "tea", seed=seed)
    assert outcome.status == "succeeded"
    assert outcome.result.answer == "two after 3 turns"
    said = [(turn.speaker, turn.text) for turn in outcome.result.turns]
    assert said == [
        ("supervisor", "at 0"),
        ("one", "one after at 0"),
        ("supervisor", "at 2"),
        ("two", "two after 3 turns"),
    ]


@every_seed
def test_a_router_takes_one_route(simulate: Simulate, seed: int) -> None:
    def parity(number: int) -> str:
        return "even" if number % 2 == 0 else "odd"

    async def halved(number: int) -> int:
        return number // 2

    async def tripled(number: int) -> int:
        return 3 * number + 1

    desk = router("desk", parity, {"even": halved, "odd": tripled})
    assert simulate(desk, seed, seed=seed).result == (seed // 2 if seed % 2 == 0 else 3 * seed + 1)
