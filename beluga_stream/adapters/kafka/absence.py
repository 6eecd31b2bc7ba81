"""Notices that a consumer's broker has gone away, even when nothing waits for its answers.

A process that has nothing to do writes nothing, and at the end of a log a reader cannot tell an absent broker from one
that has nothing new. The client can: its fetches fail, or its heartbeats are not answered.
"""

# ruff: noqa: SLF001 - aiokafka has no place for it (contract test: test_kafka_internals)

from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest

from .patience import Patience, Wait

_UNANSWERED = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)


class Absence:
    """A wait of `patience` from the first request that nobody answers to the first answer of anybody.

    `give_up` is called when patience ends before.
    """

    def __init__(self, patience: Patience, give_up: Callable[[], object]) -> None:
        self._patience = patience
        self._give_up = give_up
        self._wait: Wait | None = None

    def watch(self, consumer: Any) -> None:
        """Look at what this consumer asks. To be called before it starts."""
        client = consumer._client
        send = client.send

        async def watched(node_id: int, request: Any, **more: Any) -> Any:
            # Brokers answer it at once; what else is asked they may hold, and there is nothing to wait for in that.
            begun = isinstance(request, HeartbeatRequest) and self._begin()
            try:
                answer = await send(node_id, request, **more)
            except _UNANSWERED:
                self._begin()
                raise
            except BaseException:
                if begun:
                    self.over()
                raise
            if self._wait is not None:
                self.over(answered=True)
            return answer

        client.send = watched

    def over(self, *, answered: bool = False) -> None:
        """Somebody has answered, or nobody wants to know any more."""
        wait, self._wait = self._wait, None
        if wait is not None:
            self._patience.over(wait, answered=answered)

    def _begin(self) -> bool:
        """Whether it begins now."""
        if self._wait is not None:
            return False
        self._wait = self._patience.begin("fetching", self._give_up)
        return True
