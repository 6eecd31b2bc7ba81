"""Processes that stand still: longer than their session, or again and again for a moment."""

import asyncio
import signal

from tests.chaos.cluster import Process, until
from tests.chaos.scene import Harmed, Scene

_STOPS = 6
_MOVED_SECONDS = 60.0
_DECIDED_SECONDS = 60.0
_PULSES = 8
_PULSE_SECONDS = 0.2, 1.2


async def stop(scene: Scene) -> Harmed:
    """SIGSTOP a coordinator until its partitions moved, then SIGCONT: it must be fenced and exit.

    One that learns that it was replaced before it has anything to write rejoins, as it should; that
    shows nothing of the fence, and the next one is stopped.
    """
    harmed = Harmed(await scene.under_way())
    for _ in range(_STOPS):
        victim = scene.chance.choice(scene.holding("coordinator"))
        before = len(victim.said("role.acquired"))
        harmed.hit(victim)
        await _pause(scene, victim)

        def decided(victim: Process = victim, before: int = before) -> bool:
            return victim.code is not None or len(victim.said("role.acquired")) > before

        await until(decided, _DECIDED_SECONDS, f"{victim.name} exits or rejoins:\n{victim.tail}")
        if victim.said("role.failed"):
            break
        harmed.exit_codes.append(None)
        scene.more()
        await scene.under_way()
    else:
        harmed.faults.append(f"none of {_STOPS} stopped coordinators has tried to write")
        return harmed
    code = await scene.buried(harmed, victim)
    if code == 0:
        harmed.faults.append("the stopped coordinator ended with code 0")
    if any(line.get("error") == "Fenced" for line in victim.said("role.failed")):
        harmed.fenced += 1
    else:
        harmed.faults.append(f"the stopped coordinator was not fenced:\n{victim.tail}")
    scene.replace_now(harmed, victim)
    return harmed


async def freeze(scene: Scene) -> Harmed:
    """SIGSTOP a worker until others have its partitions, then SIGCONT: it is to go on as a member."""
    victim = scene.chance.choice(scene.holding("worker"))
    harmed = Harmed(await scene.under_way([victim]))
    harmed.hit(victim)
    before = len(victim.said("role.acquired"))
    harmed.cut_off += scene.ledger.open([victim.pid])
    await _pause(scene, victim)
    try:
        await until(lambda: len(victim.said("role.acquired")) > before, _MOVED_SECONDS, f"{victim.name} rejoins")
    except TimeoutError as error:
        harmed.faults.append(str(error))
    return harmed


async def pulse(scene: Scene) -> Harmed:
    """SIGSTOP and SIGCONT one process by turns, each time for less than a session: it is only slow."""
    victim = scene.chance.choice([*scene.holding("worker"), *scene.holding("coordinator")])
    harmed = Harmed(await scene.under_way())
    harmed.hit(victim)
    for _ in range(_PULSES):
        victim.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(scene.chance.uniform(*_PULSE_SECONDS))
        finally:
            victim.send(signal.SIGCONT)
        await asyncio.sleep(scene.chance.uniform(*_PULSE_SECONDS) / 2)
    if victim.code is not None:
        harmed.faults.append(f"{victim.name} ended with code {victim.code} though it was only slow:\n{victim.tail}")
    return harmed


async def _pause(scene: Scene, victim: Process) -> None:
    """SIGSTOP until all its partitions were taken by others, SIGCONT."""
    held = set(victim.partitions)
    others = [process for process in scene.cluster.of(victim.role) if process is not victim]
    before = {process.pid: len(process.said("role.acquired")) for process in others}

    def moved() -> bool:
        taken: set[int] = set()
        for other in others:
            for line in other.said("role.acquired")[before[other.pid] :]:
                taken.update(line["partitions"])
        return held <= taken

    victim.send(signal.SIGSTOP)
    try:
        await until(moved, _MOVED_SECONDS, f"partitions {sorted(held)} of {victim.name} move")
    finally:
        victim.send(signal.SIGCONT)
