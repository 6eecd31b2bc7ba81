"""Streaming edges on an engine that fails as a seed decides, at every chunk. SEEDS=n plays more, SEED=n only one."""

import pytest

from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.invariants import Broken
from beluga_stream.testing.simulation import Start, here, play
from beluga_stream.testing.virtual_time import run_virtually
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.streams import CHUNKS, mapped, pipeline, wrong_with, wrong_with_map
from tests.simulation.test_simulation import batches

POLICIES = [(first, second) for first in (False, True) for second in (False, True)]
PIPELINES = {
    policies: pipeline(f"pipeline-{number}", first_resumes=policies[0], second_resumes=policies[1]).compile()
    for number, policies in enumerate(POLICIES)
}

MANY = 150
MAPS = {
    (long, resumes): mapped(f"mapped-{number}", long=long, resumes=resumes).compile()
    for number, (long, resumes) in enumerate(POLICIES)
}

HARSH = ClusterOptions(faults=20, crash=0.01)


def play_streams(seed: int, options: ClusterOptions, *, tell: bool = True) -> None:
    first, second = POLICIES[seed % len(POLICIES)]
    program = PIPELINES[first, second]
    starts = [Start(program, CHUNKS, f"run-{number}") for number in range(1 + seed % 3)]
    report = play(starts, seed, options, tell=tell)
    for start in starts:
        ended = report.ended[start.key]
        if ended.status != "succeeded":
            raise Broken(f"seed {seed}: {start.key} ended as {ended}")
        wrong = wrong_with(ended.result, CHUNKS, first_resumes=first, second_resumes=second)
        if wrong is not None:
            raise Broken(f"seed {seed}: {wrong}")


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 2), ids=str)
def test_who_reads_a_stream_sees_what_its_writer_gave_whatever_fails(seeds: range) -> None:
    for seed in seeds:
        play_streams(seed, HARSH)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 4), ids=str)
def test_so_it_does_when_readers_could_hold_every_slot(seeds: range) -> None:
    for seed in seeds:
        play_streams(seed, ClusterOptions(faults=12, crash=0.01, slots=1))


def play_maps(seed: int, options: ClusterOptions, *, tell: bool = True) -> None:
    long, resumes = POLICIES[seed % len(POLICIES)]
    program = MAPS[long, resumes]
    most = MANY if long else CHUNKS
    starts = [Start(program, most, f"run-{number}") for number in range(1 + seed % 2)]
    report = play(starts, seed, options, tell=tell)
    for start in starts:
        ended = report.ended[start.key]
        if ended.status != "succeeded":
            raise Broken(f"seed {seed}: {start.key} ended as {ended}")
        wrong = wrong_with_map(ended.result, most, resumes=resumes)
        if wrong is not None:
            raise Broken(f"seed {seed}: {wrong}")


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_a_map_goes_over_each_chunk_of_one_stream_whatever_fails(seeds: range) -> None:
    for seed in seeds:
        play_maps(seed, HARSH)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 10), ids=str)
def test_so_it_does_when_there_is_one_slot_and_what_feeds_it_waits(seeds: range) -> None:
    for seed in seeds:
        play_maps(seed, ClusterOptions(faults=12, crash=0.01, slots=1))


@pytest.mark.parametrize("policies", POLICIES, ids=str)
def test_without_an_engine_readers_see_it_too(policies: tuple[bool, bool]) -> None:
    first, second = policies
    for seed in range(3):
        piped = run_virtually(here(Start(PIPELINES[policies], CHUNKS, "piped")), seed)
        assert wrong_with(piped.result, CHUNKS, first_resumes=first, second_resumes=second) is None
        most = MANY if first else CHUNKS
        mapped_over = run_virtually(here(Start(MAPS[policies], most, "mapped")), seed)
        assert wrong_with_map(mapped_over.result, most, resumes=second) is None
