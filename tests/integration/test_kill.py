"""Nothing is lost, whatever is killed: a round of each kind on real processes and Apache Kafka.

`python -m tests.chaos` plays the same rounds larger, and many of them.
"""

from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.field import Field
from tests.chaos.harm import KINDS, LEAST_UNFINISHED
from tests.chaos.round import play

_RUNS = 300
"""Enough that one worker of two has a hundred executions under way."""


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(300)  # on a loaded machine; a minute on an idle one
async def test_every_run_finishes_once_with_the_accepted_outputs(
    real_broker: str, topic_prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(Deployment(real_broker, f"{topic_prefix}kill", tmp_path))
    async with Field(cluster) as field:
        for kind in KINDS:
            outcome = await play(field, kind, seed=1, runs=_RUNS)
            assert not outcome.verdict.faults, f"{kind}:\n" + "\n".join(outcome.verdict.faults[:20])
            assert outcome.unfinished >= LEAST_UNFINISHED, kind
            assert outcome.verdict.redeliveries > 0, kind
