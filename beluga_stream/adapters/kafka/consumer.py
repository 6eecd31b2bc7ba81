"""The consumer that the engine reads Kafka with.

aiokafka's, with a fetcher of our own, in fetch sessions, at the pace that its broker can hold.
"""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from .fetch_session import in_sessions
from .fetcher import PromptFetcher, end_fetcher
from .pacing import pace


class PromptConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # it ships no types
    """Brings bytes as written, of open and aborted transactions, too, unless `isolation_level` says otherwise.

    Raises `ValueError` for a deserializer.
    """

    def __init__(self, *topics: str, **settings: Any) -> None:
        refused = settings.keys() & {"key_deserializer", "value_deserializer"}
        if refused:
            raise ValueError(f"a PromptConsumer has no {', '.join(sorted(refused))}: use aiokafka's own consumer")
        super().__init__(*topics, **settings)
        pace(in_sessions(self))

    async def start(self) -> None:
        """Connect, and begin to fetch. Raises aiokafka's errors."""
        await super().start()
        await end_fetcher(self._fetcher)
        self._fetcher: PromptFetcher = PromptFetcher(
            self._client,
            self._subscription,
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_bytes=self._fetch_max_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            max_partition_fetch_bytes=self._max_partition_fetch_bytes,
            check_crcs=self._check_crcs,
            fetcher_timeout=self._consumer_timeout,
            retry_backoff_ms=self._retry_backoff_ms,
            auto_offset_reset=self._auto_offset_reset,
            client_rack=self._client_rack,
            isolation_level=self._isolation_level,
        )

    def taken(self, target: TopicPartition) -> int | None:
        """The offset up to which it was taken, or passed over for having no record; None while that is looked up."""
        assignment = self._subscription.subscription.assignment
        state = None if assignment is None else assignment._tp_state.get(target)  # noqa: SLF001 - `position` waits
        position: int | None = None if state is None else state._position  # noqa: SLF001 - see above
        return position
