"""Rounds of chaos from the command line, a line each and an exit code.

    python -m tests.chaos --kill worker --seed 1 --runs 500
    python -m tests.chaos --kill stop --seeds 1-20 --broker 127.0.0.1:9092
    python -m tests.chaos --kill broker --broker jars

Without `--broker` it starts the broker that the tests would (see tests/brokers.py).
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.brokers import Broker, start_broker
from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.harm import ALL_KINDS, KINDS, LEAST_UNFINISHED, Kind
from tests.chaos.round import Field, Outcome

_COLUMNS = (
    "kind         seed  runs  begun  unfinished  again  resent  lost  stuck  twice  inputs  gaps"
    "  silence  recovery        exit  verdict"
)
_SHOWN_FAULTS = 20


def _row(outcome: Outcome) -> str:
    verdict = outcome.verdict
    codes = ",".join("-" if code is None else str(code) for code in outcome.exit_codes)
    counts = (
        f"{verdict.runs:>5} {verdict.executions:>6} {outcome.unfinished:>11} {verdict.executed_again:>6}"
        f" {verdict.sent_again:>7} {verdict.lost:>5} {verdict.stuck:>6} {verdict.applied_twice:>6}"
        f" {verdict.wrong_inputs:>7} {verdict.gaps:>5}"
    )
    times = f"{outcome.silence:>7.1f}s {outcome.recovery:>8.1f}s"
    said = "holds" if outcome.holds else "FAILS"
    return f"{outcome.kind:<12} {outcome.seed:>4} {counts} {times} {codes:>11}  {said}"


async def _play(kinds: list[Kind], seeds: list[int], options: argparse.Namespace, broker: Broker) -> bool:
    folder = Path(options.folder or tempfile.mkdtemp(prefix="beluga-chaos-"))
    prefix = f"chaos-{uuid.uuid4().hex[:8]}"
    deployment = Deployment(broker.address, prefix, folder, static=options.static)
    print(f"{broker.title} at {broker.address}, prefix {deployment.prefix}, logs and ledger in {folder}")
    print(_COLUMNS, flush=True)
    held = True
    began = time.monotonic()
    cluster = Cluster(deployment, coordinators=options.coordinators, workers=options.workers)
    async with Field(cluster, getattr(broker, "crash", None)) as field:
        for seed in seeds:
            for kind in kinds:
                outcome = await field.play(kind, seed, options.runs)
                held &= outcome.holds and outcome.unfinished >= LEAST_UNFINISHED
                print(_row(outcome), flush=True)
                for fault in outcome.verdict.faults[:_SHOWN_FAULTS]:
                    print(f"    {fault}", flush=True)
    print(f"{'everything holds' if held else 'NOT everything holds'}, {time.monotonic() - began:.0f} s")
    return held


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill processes; lose nothing.")
    parser.add_argument("--kill", choices=(*ALL_KINDS, "all"), default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", help="a range, like 1-20")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--broker", help="host:port of an Apache Kafka, or docker, or jars")
    parser.add_argument("--coordinators", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--static", action="store_true", help="processes have names that survive them")
    parser.add_argument("--folder", help="where logs and ledger go")
    options = parser.parse_args()
    seeds = [options.seed]
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        seeds = list(range(int(first), int(last or first) + 1))
    kinds = list(KINDS) if options.kill == "all" else [options.kill]
    chosen = {"BELUGA_TEST_BROKER": options.broker} if options.broker else {}
    broker = start_broker({**os.environ, "BELUGA_REQUIRE_KAFKA": "1", **chosen})
    try:
        return 0 if asyncio.run(_play(kinds, seeds, options, broker)) else 1
    finally:
        broker.stop()


if __name__ == "__main__":
    sys.exit(_main())
