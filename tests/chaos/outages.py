"""What everybody depends on and is not there: the broker, or room on the disk."""

import asyncio
import signal
import time
from collections.abc import Callable

from tests.chaos.cluster import until
from tests.chaos.replicas import in_sync
from tests.chaos.scene import Harmed, Scene

ON_DISK = {"BELUGA_STORE": "rocksdb"}
"""A setting that a full disk needs in order to matter."""

OUTAGE_SECONDS = 60.0
_TWO_SECONDS = 60.0
_IN_SYNC_SECONDS = 60.0


async def crash_broker(scene: Scene) -> Harmed:
    """`kill -9` of the broker, started again with what it had: nobody may end, and nothing be lost."""
    return await _without_broker(scene, "kill -9 of the broker", scene.broker.crash)


async def restart_broker(scene: Scene) -> Harmed:
    """Stop the broker cleanly and start it again."""
    return await _without_broker(scene, "the broker restarts", scene.broker.restart)


async def outage(scene: Scene) -> Harmed:
    """No broker for a minute: connections are refused."""

    def away() -> None:
        scene.broker.down()
        try:
            time.sleep(OUTAGE_SECONDS)
        finally:
            scene.broker.up()

    return await _without_broker(scene, f"no broker for {OUTAGE_SECONDS:g} s", away)


async def silence(scene: Scene) -> Harmed:
    """A broker that stands still for a minute: connections stay open, and nothing is answered."""

    def silent() -> None:
        scene.broker.pause()
        try:
            time.sleep(OUTAGE_SECONDS)
        finally:
            scene.broker.resume()

    return await _without_broker(scene, f"the broker stands still for {OUTAGE_SECONDS:g} s", silent)


async def crash_node(scene: Scene) -> Harmed:
    """`kill -9` of one broker of several, started again with what it had: others lead meanwhile."""
    number, node = scene.chance.choice([*enumerate(scene.nodes, 1)])
    return await _without_broker(scene, f"kill -9 of broker {number}", node.crash)


async def lose_disk(scene: Scene) -> Harmed:
    """`kill -9` of one broker of several, started again with an empty disk: what it had is with others."""
    number, node = scene.chance.choice([*enumerate(scene.nodes, 1)])
    return await _without_broker(scene, f"broker {number} loses its disk", node.lose)


async def upgrade(scene: Scene) -> Harmed:
    """Restart one broker after the other, each as soon as the one before has caught up with the others."""
    return await _without_broker(scene, "a restart of each broker", *(node.restart for node in scene.nodes))


async def full_disk(scene: Scene) -> Harmed:
    """A coordinator that cannot write a file any more must give up when it opens a table, and others go on.

    It is made to open one by the end of another coordinator.
    """
    await until(lambda: len(scene.holding("coordinator")) > 1, _TWO_SECONDS, "two coordinators have partitions")
    first, second = scene.chance.sample(scene.holding("coordinator"), 2)
    harmed = Harmed(await scene.under_way())
    harmed.hit(first, second)
    harmed.what = f"no room on the disk of {second.name}, and kill -9 of {first.name}"
    second.fill_disk()
    first.send(signal.SIGKILL)
    await scene.buried(harmed, first)
    await scene.replace(harmed, [first])
    code = await scene.buried(harmed, second)
    if code == 0 or not second.said("role.failed"):
        harmed.faults.append(f"{second.name} ended with code {code} and did not say why:\n{second.tail}")
    await scene.replace(harmed, [second])
    return harmed


async def _without_broker(scene: Scene, what: str, *harms: Callable[[], None]) -> Harmed:
    harmed = Harmed(await scene.under_way())
    harmed.what = what
    harmed.partitions.update(range(scene.cluster.deployment.partitions))
    for place, harm in enumerate(harms):
        if place > 0:
            await in_sync(scene.cluster.deployment.broker, _IN_SYNC_SECONDS)
            scene.more()
        await asyncio.to_thread(harm)
    harmed.over_ms = int(time.time() * 1000)
    harmed.faults += [
        f"{process.name} ended with code {process.code} though only the broker was away:\n{process.tail}"
        for process in scene.cluster.unexpected()
    ]
    return harmed
