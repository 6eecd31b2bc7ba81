"""The simulation again, with values that the coordinators cannot read: whatever they decide, they decide unread."""

import hashlib
from dataclasses import replace

import pytest

from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.errors import KeyMissing, Tampered
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.simulation import simulate
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.starts import starts_of
from tests.simulation.test_uses import desk
from tests.simulation.uses import GO, used

_SEEDS = min(max(SIDE_SEEDS // 8, 1), 200)


class ToyCipher:
    """No secret to anybody, but without a random nonce: a seed does the same again. It opens nothing that was moved."""

    active = "toy"

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        return self._mark(data, bound) + data[::-1]

    def decrypt(self, key: str, data: bytes, bound: bytes) -> bytes:
        opened = data[16:][::-1]
        if data[:16] != self._mark(opened, bound):
            raise Tampered("it does not open", key=key)
        return opened

    def digest(self, data: bytes) -> str:
        return hashlib.blake2b(data, digest_size=16, key=b"toy").hexdigest()

    def _mark(self, data: bytes, bound: bytes) -> bytes:
        return hashlib.blake2b(bound + b"\0" + data, digest_size=16).digest()


_OPTIONS = ClusterOptions(cipher=ToyCipher())
_NOTHING_INLINE = replace(_OPTIONS, inline_limit_bytes=8)
"""What is encrypted lies in a blob, however short it is; and so does what a value has in several parts."""


@pytest.mark.parametrize("seed", range(1_000, 1_000 + _SEEDS))
def test_every_run_ends_as_it_does_here_though_no_coordinator_reads_its_values(seed: int) -> None:
    simulate(starts_of(seed), seed, _NOTHING_INLINE if seed % 2 else _OPTIONS)


def test_a_seed_does_the_same_again() -> None:
    assert simulate(starts_of(1_009), 9, _OPTIONS).trace == simulate(starts_of(1_009), 9, _OPTIONS).trace


@pytest.mark.parametrize("seed", range(8))
def test_who_lacks_the_key_reads_nothing_and_is_told_which(seed: int) -> None:
    graph = desk()

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, 1, idempotency_key="one")
        await runs.signal(run, GO.name, "go", id="1")
        assert await runs.result(run, timeout_seconds=3_000) == 1
        with pytest.raises(KeyMissing, match="'toy'"):
            await _without_key(cluster, shows_sealed=False).result(run)
        assert await _without_key(cluster, shows_sealed=True).result(run) == "encrypted (toy)"

    used(seed, [graph.compile()], use, options=_OPTIONS)


def _without_key(cluster: Cluster, *, shows_sealed: bool) -> Runs:
    return Runs(
        topics=cluster.topics,
        appender=cluster.log,
        reader=cluster.log,
        payloads=Payloads(cluster.blobs, shows_sealed=shows_sealed),
        clock=cluster.clock,
        partition=lambda run: partition_of(run.encode(), cluster.topics.partitions),
    )
