"""Topics: created as declared before anything starts, checked when they exist, never altered."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from ...bounds import within
from ...errors import AccessDenied, InvalidConfig, LogUnavailable, TopicMismatch
from ...ports.log import TopicSpec
from .connection import KafkaConnection
from .patience import Patience
from .refusal import no_answer, refusal, why_unreachable

log = logging.getLogger(__name__)

_DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_CONFIGS_SECONDS = 10.0


class KafkaTopics:
    """Creates, checks, lists and deletes topics. Start it before use.

    `timeout` (seconds) bounds every request, `patience` (seconds, or what others of the process share) how long `start`
    waits for a broker that does not answer.
    """

    def __init__(
        self, connection: KafkaConnection, *, timeout: float = 30.0, patience: Patience | float = 30.0
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._patience = patience if isinstance(patience, Patience) else Patience(connection.where, patience)
        self._admin: AIOKafkaAdminClient | None = None

    async def start(self) -> None:
        """Connect, as often as patience lets us. Raises `LogUnavailable` when it ends, and `AccessDenied` at once."""
        where = self._connection.where
        try:
            self._admin = await self._patience.insist("connecting", self._connect)
        except TimeoutError as error:
            raise LogUnavailable(
                f"no Kafka broker answers at {where} (tried for {self._patience.seconds:g} s)"
            ) from error
        except (KafkaConnectionError, OSError) as error:
            raise no_answer(self._connection, error) from error
        except KafkaError as error:
            raise LogUnavailable(f"Kafka at {where} refuses us: {error!r}") from error

    async def _connect(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(**self._connection.client_settings("topics"))
        try:
            await admin.start()
        except BaseException as error:
            await admin.close()
            if isinstance(error, KafkaConnectionError | OSError):
                denied = await why_unreachable(self._connection)
                if denied is not None:
                    raise denied from error
            raise
        return admin

    async def stop(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def describe(self, names: Iterable[str] | None = None) -> Mapping[str, int]:
        """Partition counts of the topics that exist and have leaders, among `names` or of all.

        Asks for the list of all topics, since asking for one by name would let the broker create it.
        """
        found = await self._listed(names)
        return {name: len(partitions) for name, partitions in found.items()}

    async def inspect(self, names: Iterable[str], keys: Sequence[str]) -> Mapping[str, TopicSpec]:
        """Those of these topics that exist, as they are, with the settings `keys`.

        `config` is empty where the broker does not tell: it may be too old, or not grant us DescribeConfigs.
        """
        found = await self._listed(names)
        configs = await self._configs(list(found), keys) if found else {}
        return {
            # The fewest replicas of a partition: a reassignment may be under way.
            name: TopicSpec(
                name, len(partitions), configs.get(name, {}), min(len(each["replicas"]) for each in partitions)
            )
            for name, partitions in found.items()
        }

    async def ensure(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        """Create the missing ones, check the others, wait until all are visible; return what was created, by us.

        Raises `TopicMismatch` when one exists with another partition count than declared, `AccessDenied` when one
        is missing and we may not create it, and `InvalidConfig` when the broker refuses a declaration.
        """
        existing = await self.describe(spec.name for spec in specs)
        for spec in specs:
            self._check(spec, existing.get(spec.name, spec.partitions))
        missing = [spec for spec in specs if spec.name not in existing]
        if not missing:
            return []
        created = await self._create(missing)
        await self._until_visible(missing)
        return created

    async def delete(self, names: Sequence[str]) -> None:
        """Delete these topics; missing ones are fine."""
        if not names:
            return
        try:
            async with within(self._timeout):
                response = await self._connected().delete_topics(list(names))
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, "cannot delete topics", error) from error
        for name, code, *_ in response.topic_error_codes:
            error_type = for_code(code)
            if error_type is TopicAuthorizationFailedError:
                raise refusal(self._connection, f"cannot delete topic {name}", error_type(), f"Delete on topic {name}")
            if error_type not in (NoError, UnknownTopicOrPartitionError):
                raise LogUnavailable(f"cannot delete topic {name}: {error_type.__name__}")

    async def _listed(self, names: Iterable[str] | None) -> dict[str, list[Any]]:
        wanted = None if names is None else set(names)
        try:
            async with within(self._timeout):
                found = await self._connected().describe_topics(None)
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, "cannot list topics", error) from error
        return {
            topic["topic"]: topic["partitions"]
            for topic in found
            if (wanted is None or topic["topic"] in wanted)
            and topic["partitions"]
            and all(p["leader"] >= 0 for p in topic["partitions"])
        }

    async def _configs(self, names: Sequence[str], keys: Sequence[str]) -> dict[str, dict[str, str]]:
        """What is told of these topics; nothing is no reason to fail, since all else is known without it."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(keys, "")) for name in names]
        try:
            async with within(_CONFIGS_SECONDS):
                (response,) = await self._connected().describe_configs(asked)
        except (KafkaError, NotImplementedError, TimeoutError, OSError) as error:
            log.debug("the broker does not tell how topics are kept: %r", error)
            return {}
        return {
            name: {entry[0]: entry[1] for entry in entries if entry[1] is not None}
            for code, _, _, name, entries in response.resources
            if for_code(code) is NoError
        }

    async def _create(self, specs: Sequence[TopicSpec]) -> list[str]:
        new = [
            NewTopic(
                name=spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication,
                topic_configs=dict(spec.config),
            )
            for spec in specs
        ]
        try:
            async with within(self._timeout):
                response = await self._connected().create_topics(new)
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, "cannot create topics", error) from error
        refused = [name for name, code, *_ in response.topic_errors if for_code(code) in _DENIED]
        if refused:
            raise AccessDenied(
                f"these topics do not exist, and Kafka does not grant {self._connection.user} Create on them: "
                f"{', '.join(refused)}. Let an operator run `beluga topics apply`; see docs/security.md",
                user=self._connection.username,
            )
        created = set()
        for name, code, *reason in response.topic_errors:
            error_type = for_code(code)
            if error_type is NoError:
                created.add(name)
            # Another process may have created it in the meantime; _until_visible checks what it made.
            elif error_type is not TopicAlreadyExistsError:
                why = reason[0] if reason and reason[0] else error_type.__name__
                raise InvalidConfig(f"the broker refuses topic {name}: {why}", topic=name)
        return [spec.name for spec in specs if spec.name in created]

    async def _until_visible(self, specs: Sequence[TopicSpec]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            found = await self.describe(spec.name for spec in specs)
            unseen = [spec.name for spec in specs if spec.name not in found]
            if not unseen:
                break
            if loop.time() > deadline:
                raise LogUnavailable(
                    f"topics were created but have no leader after {self._timeout:g} s: {', '.join(unseen)}"
                )
            await asyncio.sleep(0.05)
        for spec in specs:
            self._check(spec, found[spec.name])

    def _check(self, spec: TopicSpec, actual: int) -> None:
        if actual != spec.partitions:
            raise TopicMismatch(
                f"topic {spec.name} has {actual} partitions, but {spec.partitions} are declared:"
                f" declare {actual}, or move to a new topic",
                topic=spec.name,
                actual=actual,
                declared=spec.partitions,
            )

    def _connected(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            raise LogUnavailable("the topic administration is not started")
        return self._admin
