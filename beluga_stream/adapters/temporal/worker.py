"""A worker of Temporal: the interpreter with its activities, and a user's own workflows beside them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from ...errors import InvalidConfig
from .activities import Activities
from .failing import Sandboxed, Unsandboxed
from .interpreter import Interpreter
from .propagation import Executing
from .queues import queue_for, told_queue

_THROTTLE = timedelta(seconds=2)
"""Cancels come with the answers to heartbeats: no rarer than this."""

_DETERMINISTIC = ("beluga_stream", "msgspec", "networkx", "orjson")
"""What the sandbox need not load for each workflow anew. Users' own modules it does."""

_MORE = 4
"""Executions that wait for a chunk give their slot back, so that more may be open than run."""


class TemporalWorker:
    """Serves one task queue, and those of the node queues named, while its context is entered.

    With `tells` its log is the engine's, and it serves the runs too that must be told there: see `queues`.
    `grace_seconds` is how long executions may finish when it stops; then they are given back. `threads` run the
    workflows' code (default: the SDK's own). Activities that are not async run in threads, too. Raises `InvalidConfig`
    for workflows and activities that are none.
    """

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        client: Client,
        activities: Activities,
        *,
        task_queue: str,
        queues: Sequence[str] = ("default",),
        tells: bool = True,
        workflows: Sequence[type] = (),
        more_activities: Sequence[Callable[..., Any]] = (),
        slots: int = 256,
        grace_seconds: float = 10.0,
        identity: str | None = None,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self._activities = activities
        make: dict[str, Any] = {
            "identity": identity,
            "graceful_shutdown_timeout": timedelta(seconds=grace_seconds),
            "max_heartbeat_throttle_interval": _THROTTLE,
            "default_heartbeat_throttle_interval": _THROTTLE,
            "max_concurrent_activities": slots * _MORE,
        }
        # As many threads as there may be activities, or Temporal warns; they are begun when they are needed.
        self._blocking = ThreadPoolExecutor(slots * _MORE, "beluga-activity") if more_activities else None
        of_nodes = activities.of_nodes if "default" in queues else ()
        runs: dict[str, Any] = {
            "workflow_task_executor": threads,
            "workflow_runner": Sandboxed(
                restrictions=SandboxRestrictions.default.with_passthrough_modules(*_DETERMINISTIC)
            ),
            "unsandboxed_workflow_runner": Unsandboxed(),
        }
        self._workers = [
            _made(
                client,
                task_queue=task_queue,
                activity_executor=self._blocking,
                workflows=[Interpreter, *workflows],
                activities=[*of_nodes, *activities.of_runs, *more_activities],
                interceptors=[Executing(activities.spans)] if workflows or more_activities else [],
                **runs,
                **make,
            )
        ]
        if tells:
            self._workers.append(
                Worker(
                    client,
                    task_queue=told_queue(task_queue),
                    workflows=[Interpreter],
                    activities=[*of_nodes, *activities.of_runs],
                    **runs,
                    **make,
                )
            )
        self._workers += [
            Worker(client, task_queue=queue_for(of_runs, queue), activities=activities.of_nodes, **make)
            for of_runs in ((task_queue, told_queue(task_queue)) if tells else (task_queue,))
            for queue in queues
            if queue != "default"
        ]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._activities.close)
            if self._blocking is not None:
                stack.callback(self._blocking.shutdown, wait=False)
            for worker in self._workers:
                await stack.enter_async_context(worker)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Serve until it is cancelled, or a worker fails."""
        async with self:
            await asyncio.Future()


def _made(client: Client, **options: Any) -> Worker:
    try:
        return Worker(client, **options)
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"a worker of Temporal cannot serve these workflows and activities: {error}") from error
