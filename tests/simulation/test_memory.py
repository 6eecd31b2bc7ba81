"""A conversation of three turns on an engine that fails as a seed decides, also between a save and its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from beluga_stream import (
    INJECTED,
    BufferMemory,
    Cache,
    History,
    InProcessStore,
    KeyValueMemory,
    VectorMemory,
    chain,
    node,
)
from beluga_stream.api.chain import Chain
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.conversation import Entry
from beluga_stream.errors import StoreUnavailable
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.process import current_process
from tests.simulation.test_simulation import batches
from tests.simulation.uses import used

_SEEDS = 120
_HARSH = ClusterOptions(faults=15, crash=0.03)
_AWAY = 0.05
_TURNS = ("one", "two", "three")


class _MortalStore(InProcessStore):
    """One store for all simulated processes, each of which may die before and after any of its calls.

    `tried` has each save that was tried, with whether it was the first of its turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[bool] = []

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        await _moment()
        self.tried.append(await super().append(conversation, turn, value))
        await _moment()
        return self.tried[-1]

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        await _moment()
        return await super().load(conversation, last=last, before=before)

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        await _moment()
        first = await super().put(conversation, turn, facts)
        await _moment()
        return first

    async def add(self, conversation: str, turn: str, vector: Sequence[float], value: bytes, /) -> bool:
        await _moment()
        self.tried.append(await super().add(conversation, turn, vector, value))
        await _moment()
        return self.tried[-1]

    async def fetch(self, key: str, /) -> bytes | None:
        await _moment()
        _may_be_away()
        return await super().fetch(key)

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        await _moment()
        _may_be_away()
        await super().keep(key, value, seconds)
        await _moment()


async def _moment() -> None:
    process = current_process()
    if process is not None:
        await process.effect()


def _may_be_away() -> None:
    """A cache that does not answer costs its nodes their results, and nothing else."""
    process = current_process()
    if process is not None and process.faults.strikes(_AWAY):
        raise StoreUnavailable("the cache does not answer (simulated)")


async def answer(asked: dict[str, str], history: History = INJECTED) -> list[str]:
    return [*(turn.input["text"] for turn in history.turns), asked["text"]]


async def counted(given: dict[str, Any]) -> str:
    return f"{given['facts'].get('turns', 0)} before {given['text']}"


def _talk(store: InProcessStore) -> Chain[Any, Any]:
    return chain(answer, memory=BufferMemory(store=store), conversation=lambda asked: asked["who"], name="talk")


def _count(store: InProcessStore) -> Chain[Any, Any]:
    def told(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"turns": int(str(outputs["output"]).split()[0]) + 1}

    memory = KeyValueMemory(told, store=store)
    return chain(counted, memory=memory, conversation=lambda asked: asked["who"], name="count")


def _like(store: InProcessStore) -> Chain[Any, Any]:
    """What was asked before and is most like this, each by its length, which is looked up."""

    @node(cache=Cache(3_600, store=store))
    async def alike(asked: dict[str, str], history: History = INJECTED) -> list[str]:
        return [turn.input for turn in history.turns]

    memory = VectorMemory(lambda text: [len(text.split()[0]), 1], k=2, store=store, input_key="text")
    return chain(alike, memory=memory, conversation=lambda asked: asked["who"], name="like")


def _converse(seed: int) -> int:
    """Two conversations in turns, their facts, and what was like it. Gives how many saves were repeated."""
    store = _MortalStore()
    talk, count, like = _talk(store), _count(store), _like(store)

    async def use(cluster: Cluster, runs: Runs) -> None:
        for place, text in enumerate(_TURNS, 1):
            for who in ("anna", "ben"):
                given = {"who": who, "text": text}
                talked = await runs.start(talk.name, given, idempotency_key=f"{who}-{text}")
                counts = await runs.start(count.name, given, idempotency_key=f"{who}-{text}")
                liked = await runs.start(like.name, given, idempotency_key=f"{who}-{text}")
                assert await runs.result(talked, timeout_seconds=4_000) == list(_TURNS[:place])
                assert await runs.result(counts, timeout_seconds=4_000) == f"{place - 1} before {text}"
                # In the order of likeness: "three" is nearer to "two" and "one" alike, which were saved in this order.
                assert await runs.result(liked, timeout_seconds=4_000) == list(_TURNS[: place - 1])
        await cluster.rest()
        again = await runs.start(like.name, {"who": "anna", "text": "one"}, idempotency_key="again")
        assert await runs.result(again, timeout_seconds=4_000) == ["one", "two"]

    used(seed, [talk.compile(), count.compile(), like.compile()], use, options=_HARSH)
    assert sum(store.tried) == 4 * len(_TURNS) + 1
    return len(store.tried) - sum(store.tried)


@pytest.mark.parametrize("seeds", batches(_SEEDS), ids=str)
def test_each_turn_is_saved_once_and_recalled_in_order(seeds: range) -> None:
    for seed in seeds:
        _converse(seed)


def test_processes_die_between_a_save_and_its_report() -> None:
    assert any(_converse(seed) > 0 for seed in range(_SEEDS)), "no save was ever repeated: this shows nothing"
