"""A seed does the same in every process: nothing that happens follows from what a process is, or from what it draws."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_RETRIED = 2
"""How many seeds to play of which a client retries a run: that has an id of its own."""
_PLAY = """
import itertools, logging, sys
from beluga_stream.testing import cluster, simulation
from tests.simulation.starts import starts_of


class Told(cluster.Cluster):
    story_of = ""

    async def rest(self):
        await super().rest()
        Told.story_of = self.story.text()


logging.disable(logging.CRITICAL)
simulation.Cluster = Told
left = int(sys.argv[1])
for seed in itertools.count():
    starts = starts_of(seed)
    if not any(start.retry for start in starts):
        continue
    report = simulation.play(starts, seed)
    if "retry_requested" in Told.story_of:
        print(seed, report.trace, sorted((key, how.status) for key, how in report.ended.items()), Told.story_of)
        left -= 1
        if not left:
            break
"""


def _played(hash_seed: str) -> str:
    environ = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(_ROOT), "COVERAGE_PROCESS_START": ""}
    command = [sys.executable, "-c", _PLAY, str(_RETRIED)]
    done = subprocess.run(command, env=environ, cwd=_ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_seed_whose_clients_retry_has_one_story_in_every_process() -> None:
    story = _played("1")
    assert story.count("retry_requested") >= _RETRIED
    assert _played("2") == story
