"""What consumer groups have read: told, and set from outside before a group has members."""

import logging
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, KafkaError, UnknownMemberIdError

from ...bounds import within
from ...errors import LogUnavailable
from .connection import KafkaConnection

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30.0


async def skip_to_end(connection: KafkaConnection, group: str, topic: str, partitions: int) -> None:
    """Let the group begin behind all that the topic holds now.

    Raises `LogUnavailable`, also when the group has members already.
    """
    consumer = AIOKafkaConsumer(**connection.client_settings("skip"), group_id=group, enable_auto_commit=False)
    targets = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        async with within(_TIMEOUT_SECONDS):
            await consumer.start()
            consumer.assign(targets)
            await consumer.commit(await consumer.end_offsets(targets))
    except (KafkaError, TimeoutError, OSError) as error:
        raise LogUnavailable(f"group {group} cannot begin at the end of {topic}: {error!r}") from error
    finally:
        await consumer.stop()


async def begin_beside(connection: KafkaConnection, group: str, name: str, topics: Sequence[str]) -> None:
    """Let `group`, one of those of the role `name`, begin where the others have come to in what it has never read.

    What any group of the role has acknowledged is done, or in somebody's hands: read once more from the beginning, it
    would all be done again. A group that has members has begun. Raises `LogUnavailable`.
    """
    admin = AIOKafkaAdminClient(**connection.client_settings("beside"))
    consumer = AIOKafkaConsumer(**connection.client_settings("beside"), group_id=group, enable_auto_commit=False)
    try:
        async with within(_TIMEOUT_SECONDS):
            await admin.start()
            found = await _acknowledged(admin, name)
            own = found.pop(group, {})
            begins = {
                target: offset
                for target, offset in _furthest(found).items()
                if target.topic in topics and target not in own
            }
            if not begins:
                return
            await consumer.start()
            consumer.assign(list(begins))
            await consumer.commit(begins)
    except (CommitFailedError, UnknownMemberIdError):
        log.debug("%s has members: it has begun", group)
        return
    except (KafkaError, TimeoutError, OSError) as error:
        raise LogUnavailable(f"group {group} cannot begin beside others of {name}: {error!r}") from error
    finally:
        await admin.close()
        await consumer.stop()
    named = ", ".join(sorted({target.topic for target in begins}))
    told = f"{group} begins where other groups of {name} have come to in {named}"
    log.info(told, extra={"action": "begins_beside", "group": group})


Offsets = Mapping[TopicPartition, int]


async def _acknowledged(admin: AIOKafkaAdminClient, name: str) -> dict[str, Offsets]:
    """What the groups `name` and `name.queue` have acknowledged, as far as we may see them."""
    names = [group for group, *_ in await admin.list_consumer_groups()]
    return {
        group: {target: found.offset for target, found in (await admin.list_consumer_group_offsets(group)).items()}
        for group in names
        if group == name or group.startswith(f"{name}.")
    }


def _furthest(found: Mapping[str, Offsets]) -> dict[TopicPartition, int]:
    furthest: dict[TopicPartition, int] = {}
    for offsets in found.values():
        for target, offset in offsets.items():
            furthest[target] = max(furthest.get(target, 0), offset)
    return furthest


class KafkaWorkers:
    """Port `Workers` on Kafka: the group `name`, and of workers those of single queues, `name.queue`."""

    def __init__(self, connection: KafkaConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        """See the port. It is asked seldom, so each time has a connection of its own."""
        admin = AIOKafkaAdminClient(**self._connection.client_settings("workers"))
        try:
            async with within(_TIMEOUT_SECONDS):
                await admin.start()
                found = _furthest(await _acknowledged(admin, self._name))
                return {target.partition: offset for target, offset in found.items() if target.topic == topic}
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"what {self._name} has acknowledged of {topic}"
            raise LogUnavailable(f"cannot read {what}: {error!r}") from error
        finally:
            await admin.close()
