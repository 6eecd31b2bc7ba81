"""Chaos from the command line, and an exit code.

    python -m tests.chaos --minutes 10 --seed 1            # a campaign: harm after harm under steady load
    python -m tests.chaos --kill worker --seeds 1-20       # rounds: one harm in the middle of many runs each
    python -m tests.chaos --kill broker --broker jars
    python -m tests.chaos --kill disk --broker trio        # of three brokers one loses all that it has
    python -m tests.chaos --roll                           # a rolling restart: it must cost no execution

Without `--broker` it starts the broker that the tests would (see tests/brokers).
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

import orjson

from tests.brokers import Broker, BrokerCluster, HarmableBroker, start_broker
from tests.chaos.campaign import Campaign
from tests.chaos.cluster import Cluster, Deployment
from tests.chaos.field import Field
from tests.chaos.harm import HARMS, KINDS, LEAST_UNFINISHED, Kind
from tests.chaos.outages import ON_DISK
from tests.chaos.plan import plan
from tests.chaos.report import Report
from tests.chaos.rolling import GRACE_SECONDS, Rolling
from tests.chaos.round import Outcome, play
from tests.chaos.screen import Screen

_COLUMNS = (
    "kind         seed  runs  begun  unfinished  again  resent  lost  stuck  twice  inputs  gaps"
    "  silence  recovery        exit  verdict"
)
_SHOWN_FAULTS = 20
_MOST_PLAYS = 3


def _row(outcome: Outcome) -> str:
    verdict = outcome.verdict
    codes = ",".join("-" if code is None else str(code) for code in outcome.exit_codes)
    counts = (
        f"{verdict.runs:>5} {verdict.executions:>6} {outcome.unfinished:>11} {verdict.executed_again:>6}"
        f" {verdict.sent_again:>7} {verdict.lost:>5} {verdict.stuck:>6} {verdict.applied_twice:>6}"
        f" {verdict.wrong_inputs:>7} {verdict.gaps:>5}"
    )
    times = f"{outcome.silence:>7.1f}s {outcome.recovery:>8.1f}s"
    said = ("holds" if outcome.shows_something else "shows nothing") if outcome.holds else "FAILS"
    return f"{outcome.kind:<12} {outcome.seed:>4} {counts} {times} {codes:>11}  {said}"


def _field(options: argparse.Namespace, broker: Broker, screen: Screen, **environ: str) -> Field:
    folder = Path(options.folder or tempfile.mkdtemp(prefix="beluga-chaos-"))
    prefix = f"chaos-{uuid.uuid4().hex[:8]}"
    if isinstance(broker, BrokerCluster):
        environ["BELUGA_REPLICATION"] = str(len(broker.nodes))
    deployment = Deployment(broker.address, prefix, folder, static=options.static, environ=environ)
    screen.say(f"{broker.title} at {broker.address}, prefix {prefix}, logs and ledger in {folder}")
    cluster = Cluster(deployment, coordinators=options.coordinators, workers=options.workers)
    return Field(cluster, broker)


async def _rounds(options: argparse.Namespace, broker: Broker) -> bool:
    kinds: list[Kind] = list(KINDS) if options.kill == "all" else [options.kill]
    first, _, last = (options.seeds or str(options.seed)).partition("-")
    held = True
    began = time.monotonic()
    async with _field(options, broker, Screen(), **(ON_DISK if "full" in kinds else {})) as field:
        print(_COLUMNS, flush=True)
        for seed in range(int(first), int(last or first) + 1):
            for kind in kinds:
                held &= await _round(field, kind, seed, options.runs)
    print(f"{'everything holds' if held else 'NOT everything holds'}, {time.monotonic() - began:.0f} s")
    return held


async def _round(field: Field, kind: Kind, seed: int, runs: int) -> bool:
    """Whether it holds. A round in which nothing was delivered again is played once more; one of three must."""
    for _ in range(_MOST_PLAYS):
        outcome = await play(field, kind, seed, runs)
        print(_row(outcome), flush=True)
        for fault in outcome.verdict.faults[:_SHOWN_FAULTS]:
            print(f"    {fault}", flush=True)
        if not outcome.holds or outcome.unfinished < LEAST_UNFINISHED:
            return False
        if outcome.shows_something:
            return True
    return False


async def _campaign(options: argparse.Namespace, broker: Broker) -> bool:
    ours, several = isinstance(broker, HarmableBroker), isinstance(broker, BrokerCluster)
    strikes = plan(options.seed, options.minutes, broker=ours, cluster=several)
    with Screen() as screen:
        if not (ours or several):
            screen.say("this broker is not ours, and nothing is done to it")
        async with _field(options, broker, screen, **ON_DISK) as field:
            settled = await Campaign(field, options.seed, rate=options.rate, screen=screen).play(
                strikes, options.minutes
            )
    report = Report(settled, options.minutes)
    if options.json:
        print(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(report.lines()))
    return report.holds


async def _roll(options: argparse.Namespace, broker: Broker) -> bool:
    with Screen() as screen:
        async with _field(options, broker, screen, BELUGA_SHUTDOWN_GRACE_SECONDS=str(GRACE_SECONDS)) as field:
            rolled = await Rolling(field, screen).play()
    print(orjson.dumps(rolled.as_json(), option=orjson.OPT_INDENT_2).decode() if options.json else rolled.text())
    return rolled.holds


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill processes; lose nothing.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long a campaign goes on")
    parser.add_argument("--rate", type=float, default=15.0, help="runs a second in a campaign")
    parser.add_argument("--json", action="store_true", help="a campaign's report as one JSON document")
    parser.add_argument("--kill", choices=(*HARMS, "all"), help="rounds of one kind of harm instead of a campaign")
    parser.add_argument("--roll", action="store_true", help="a rolling restart instead of a campaign")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", help="a range of rounds, like 1-20")
    parser.add_argument("--runs", type=int, default=500, help="runs in a round")
    parser.add_argument("--broker", help="host:port of an Apache Kafka, or docker, jars, trio")
    parser.add_argument("--coordinators", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--static", action="store_true", help="processes have names that survive them")
    parser.add_argument("--folder", help="where logs and ledger go")
    options = parser.parse_args()
    # Whoever is told to stop takes with it what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for client in ("aiokafka", "beluga_stream"):
        # Its words about a broker that we have just killed are no news here.
        logging.getLogger(client).setLevel(logging.CRITICAL)
    chosen = {"BELUGA_TEST_BROKER": options.broker} if options.broker else {}
    broker = start_broker({**os.environ, "BELUGA_REQUIRE_KAFKA": "1", **chosen})
    try:
        what = _rounds if options.kill else _roll if options.roll else _campaign
        return 0 if asyncio.run(what(options, broker)) else 1
    finally:
        broker.stop()


if __name__ == "__main__":
    sys.exit(_main())
