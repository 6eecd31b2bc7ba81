"""The simulation again, with values that the coordinators cannot read: whatever they decide, they decide unread."""

import hashlib

import pytest

from beluga_stream.errors import Tampered
from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.simulation import simulate
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.test_simulation import starts_of

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


@pytest.mark.parametrize("seed", range(1_000, 1_000 + _SEEDS))
def test_every_run_ends_as_it_does_here_though_no_coordinator_reads_its_values(seed: int) -> None:
    simulate(starts_of(seed), seed, _OPTIONS)


def test_a_seed_does_the_same_again() -> None:
    assert simulate(starts_of(1_009), 9, _OPTIONS).trace == simulate(starts_of(1_009), 9, _OPTIONS).trace
