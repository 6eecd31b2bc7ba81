"""Processes that end: killed, one after the other, or told to stop."""

import asyncio
import signal

from tests.chaos.cluster import Process
from tests.chaos.scene import Harmed, Scene

_STORM_KILLS = 6
_STORM_PAUSE = 0.2, 5.0


async def kill(scene: Scene, *roles: str) -> Harmed:
    """`kill -9` of all processes of the roles or of one of each: a cluster without and with survivors."""
    everyone = scene.chance.random() < 0.5
    victims: list[Process] = []
    for role in roles:
        candidates = scene.holding(role)
        victims += candidates if everyone else [scene.chance.choice(candidates)]
    harmed = Harmed(await scene.under_way(victims))
    harmed.hit(*victims)
    for victim in victims:
        victim.send(signal.SIGKILL)
    for victim in victims:
        await scene.buried(harmed, victim)
    if "worker" in roles:
        # Counted again: the dead cannot end any more, so this is how many had begun and not ended.
        harmed.unfinished = len(harmed.cut_off)
    await scene.replace(harmed, victims)
    return harmed


async def storm(scene: Scene) -> Harmed:
    """`kill -9` of one process after the other, also of those that are just recovering."""
    harmed = Harmed(await scene.under_way())
    for _ in range(_STORM_KILLS):
        candidates = [process for process in scene.cluster.processes if process.role != "ingest"]
        victim = scene.chance.choice(candidates)
        harmed.hit(victim)
        victim.send(signal.SIGKILL)
        await scene.buried(harmed, victim)
        scene.replace_now(harmed, victim)
        await asyncio.sleep(scene.chance.uniform(*_STORM_PAUSE))  # the storm's own pace
    return harmed


async def terminate(scene: Scene) -> Harmed:
    """SIGTERM of one process: it must end with 0."""
    victim = scene.chance.choice([*scene.holding("coordinator"), *scene.holding("worker")])
    harmed = Harmed(await scene.under_way([victim]))
    await told_to_stop(scene, harmed, victim)
    await scene.replace(harmed, [victim])
    return harmed


async def restart(scene: Scene) -> Harmed:
    """Replace every process, one after the other, as a deploy does."""
    harmed = Harmed(await scene.under_way())
    for victim in list(scene.cluster.processes):
        await scene.cluster.replace(victim).ready()
        await told_to_stop(scene, harmed, victim)
    return harmed


async def told_to_stop(scene: Scene, harmed: Harmed, victim: Process) -> None:
    """SIGTERM, which must end it with 0."""
    harmed.hit(victim)
    victim.send(signal.SIGTERM)
    code = await scene.buried(harmed, victim)
    if code != 0:
        harmed.faults.append(f"{victim.name} ended with code {code} at SIGTERM:\n{victim.tail}")
