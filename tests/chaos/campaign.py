"""A campaign: harm after harm under steady load, by the plan of a seed, and one settlement at the end."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.brokers import BrokerUnavailable
from tests.chaos.cluster import until
from tests.chaos.field import Field
from tests.chaos.harm import HARMS
from tests.chaos.load import Load
from tests.chaos.plan import Strike
from tests.chaos.recovery import recovered
from tests.chaos.scene import Harmed, Scene
from tests.chaos.screen import Screen
from tests.chaos.verdict import Judge, Verdict

_LEAST_UNFINISHED = 15
_FLOWING_SECONDS = 60.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike as it went. Seconds since the campaign's begin, and until all went on; None: it never did."""

    at: float
    kind: str
    what: str
    unfinished: int
    recovery: float | None


@dataclass(slots=True)
class Settled:
    """What a campaign came to."""

    seed: int
    seconds: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    fenced: int = 0
    unconfirmed: int = 0
    """Recoveries of a partition that found intents unconfirmed, and sent them again."""
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def injected(self) -> Counter[str]:
        return Counter(strike.kind for strike in self.struck)


class Campaign:
    """Plays on a field that is open. `rate` is in runs a second."""

    def __init__(self, on: Field, seed: int, *, rate: float, screen: Screen) -> None:
        self._on = on
        self._rate = rate
        self._screen = screen
        self._load: Load = on.load(random.Random(f"load/{seed}"))
        self._began = time.monotonic()
        self._faults: list[str] = []
        self._settled = Settled(seed)

    async def play(self, strikes: Sequence[Strike], minutes: float) -> Settled:
        """Strike until the time is up, let every run end, and judge."""
        on, settled = self._on, self._settled
        await on.cluster.ready()
        looking = asyncio.create_task(self._look(minutes))
        loading = asyncio.create_task(self._load.steady(self._rate))
        self._began = time.monotonic()
        try:
            await until(self._flows, _FLOWING_SECONDS, "every partition tells of runs")
            for number, strike in enumerate(strikes, 1):
                if self._seconds + strike.pause > minutes * 60:
                    break
                await asyncio.sleep(strike.pause)  # all is quiet meanwhile, as the plan says
                await self._strike(number, strike)
            await asyncio.sleep(max(0.0, minutes * 60 - self._seconds))
            self._screen.doing = "waiting for every run to end"
            self._load.stop()
            await loading
            await on.all_ended(self._load.started)
        finally:
            for task in (loading, looking):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._screen.doing = "settling"
        settled.verdict = await Judge(on.observer, on.ledger, self._load.started, on.cluster.deployment.blobs).judge()
        settled.verdict.faults += [*self._faults, *await on.overtaken(), *on.unexpected()]
        everyone = [*on.cluster.processes, *on.cluster.ended]
        settled.unconfirmed = sum(line["resent"] > 0 for process in everyone for line in process.said("acquire"))
        settled.seconds = self._seconds
        return settled

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _flows(self) -> bool:
        return all(
            self._on.observer.told_after(partition, 0) is not None
            for partition in range(self._on.cluster.deployment.partitions)
        )

    async def _strike(self, number: int, strike: Strike) -> None:
        self._screen.doing = f"harm {number}: {strike.kind}"
        scene = Scene(
            self._on.cluster,
            self._on.ledger,
            random.Random(strike.seed),
            least=_LEAST_UNFINISHED,
            broker=self._on.broker,
        )
        at = self._seconds
        harmed = Harmed(what="nothing")
        seconds: float | None = None
        try:
            harmed = await HARMS[strike.kind](scene)
            self._screen.doing = f"harm {number}: {strike.kind} of {harmed.what}, recovering"
            seconds = await recovered(harmed, self._on.cluster, self._on.ledger, self._on.observer)
            await self._on.cluster.ready()
        except BrokerUnavailable as error:
            self._screen.say(f"the broker does not come back: {error}")
            raise
        except (RuntimeError, TimeoutError) as error:
            harmed.faults.append(f"harm {number}, {strike.kind} of {harmed.what}: {error}")
        struck = Struck(at, strike.kind, harmed.what, harmed.unfinished, seconds)
        self._settled.struck.append(struck)
        self._settled.fenced += harmed.fenced
        self._faults += harmed.faults
        self._screen.say(
            f"{at:6.1f} s  {strike.kind:<12} {'never' if seconds is None else f'{seconds:.1f} s':>7}  {harmed.what}"
        )
        for fault in [*harmed.faults, *self._replace_the_lost()]:
            self._screen.say(f"          {fault}")

    def _replace_the_lost(self) -> list[str]:
        """Processes that ended by themselves are faults, and the campaign goes on with others."""
        lost = self._on.unexpected()
        for process in self._on.cluster.unexpected():
            self._on.cluster.bury(process)
            self._on.cluster.replace(process)
        self._faults += lost
        return lost

    async def _look(self, minutes: float) -> None:
        """Keep the line of what is happening current."""
        while True:
            ended = sum(start.run in self._on.observer.ended_at for start in self._load.started)
            self._screen.show(
                f"{self._seconds:4.0f} of {minutes * 60:.0f} s, {len(self._load.started)} runs accepted,"
                f" {ended} ended, harmed {len(self._settled.struck)} times"
            )
            await asyncio.sleep(_LOOK_SECONDS)
