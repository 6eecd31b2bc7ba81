"""What the interpreter has done outside of it: nodes executed, statuses appended to the log, values kept."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from ...application.coordinator.named import named
from ...application.execution.execution import Executions
from ...application.execution.leaving import Leaving
from ...application.execution.reports import about
from ...application.execution.streams import HeldElsewhere, Streams
from ...application.messages import NodeReady, Outcome
from ...application.outbox import Outbox
from ...application.payloads import Payloads
from ...application.topics import Topics
from ...application.worker.attempts import Attempts, Beat
from ...application.worker.slots import Slot, Slots
from ...domain.events import NodeStarted, NodeStreaming
from ...domain.ids import Incarnation
from ...domain.payload import Payload
from ...errors import LogUnavailable
from ...ports.blobs import SweptBlobs
from ...ports.clock import Clock
from ...ports.handlers import Deployment
from ...ports.log import Appender, Reader
from ...ports.spans import Spans
from ...ports.telemetry import Telemetry
from . import envelopes
from .envelopes import Beaten, Carried, Given, Long, Named, Records, Shortened, Told

_BEAT_SECONDS = 2.5
_LEASE_SECONDS = 2.0
"""An execution that takes longer than this is shown as running."""


class Activities:
    """Runs the handlers of a deployment, at most `slots` at a time, and tells the log. Close it after its worker."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        client: Client,
        topics: Topics,
        deployment: Deployment,
        appender: Appender,
        reader: Reader,
        payloads: Payloads,
        blobs: SweptBlobs,
        executions: Executions,
        clock: Clock,
        name: str,
        telemetry: Telemetry,
        spans: Spans,
        slots: int = 256,
    ) -> None:
        self._client = client
        self._appender = appender
        self._payloads = payloads
        self._blobs = blobs
        self._clock = clock
        self._name = name
        self._executions = executions
        self._isolates = executions.isolates
        self._slots = Slots(slots)
        self._outbox = Outbox(appender, goes_on=True)
        self._streams = Streams(reader, topics.run_results, payloads)
        self.spans = spans
        self._telling: set[asyncio.Task[None]] = set()
        self._leaving = Leaving()
        self._attempts = Attempts(
            topics=topics,
            deployment=deployment,
            outbox=self._outbox,
            payloads=payloads,
            executions=executions,
            streams=self._streams,
            clock=clock,
            worker=name,
            report=self._report,
            telemetry=telemetry,
            spans=spans,
        )

    @property
    def of_nodes(self) -> Sequence[Callable[..., Any]]:
        """What the worker of any queue does."""
        return [self.execute]

    @property
    def of_runs(self) -> Sequence[Callable[..., Any]]:
        """What the worker that runs workflows does beside them."""
        return [self.show, self.put_away, self.take_out, self.shorten, self.renew]

    async def close(self) -> None:
        """Wait for what is on its way, then release the resources."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=_BEAT_SECONDS)
        await self._outbox.close()
        await self._streams.close()
        await self._executions.close()

    @activity.defn(name=envelopes.EXECUTE)
    async def execute(self, given: Given) -> Told:
        """One execution of a node. It keeps its hold on the attempt by heartbeats, and ends when it is told to."""
        work, incarnation = given.work, given.incarnation
        details: Payload | None = work.details

        async def beat(told: Payload | None) -> None:
            nonlocal details
            details = told
            activity.heartbeat(Beaten(details))

        slot = Slot(None if work.apart and self._isolates else self._slots)
        beating = asyncio.create_task(self._beat(given, lambda: details), name="beluga-beat")
        try:
            return Told(await self._executed(work, incarnation, beat, slot))
        except asyncio.CancelledError:
            if activity.is_worker_shutdown():
                raise _handed_back(f"{self._name} stops: another worker has to begin anew", details) from None
            told = activity.cancellation_details()
            if told is not None and told.not_found:
                raise _handed_back("its run has ended: nobody wants to know") from None
            raise
        except HeldElsewhere:
            raise _handed_back("another execution holds the attempt") from None
        except LogUnavailable as error:
            raise ApplicationError(str(error), Beaten(details), type=type(error).__name__) from error
        finally:
            beating.cancel()

    async def _executed(self, work: NodeReady, incarnation: Incarnation, beat: Beat, slot: Slot) -> Outcome:
        """In a task of its own: a handler that ignores its cancellation must not keep its slot, nor its worker."""

        async def outcome() -> Outcome:
            async with slot:
                return await self._attempts.outcome(work, incarnation, beat, slot)

        task = asyncio.create_task(outcome(), name=f"beluga-{work.node}")
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            try:
                await self._leaving.stop(task, work.node, work.run)
            finally:
                slot.leave()
            raise
        return task.result()

    @activity.defn(name=envelopes.SHOW)
    async def show(self, records: Records) -> None:
        """Append what was decided. Repeated, it is dropped by whoever reads: statuses are numbered."""
        if records.first:
            await self._appender.append(records.first)
        if records.then:
            await self._appender.append(records.then)
        for span in records.spans:
            self.spans.ended(span)

    @activity.defn(name=envelopes.PUT_AWAY)
    async def put_away(self, owner: str, carried: Carried) -> str:
        """Keep what is too long to be an input; returns its reference."""
        return await self._payloads.keep(owner, msgspec.json.encode(carried))

    @activity.defn(name=envelopes.TAKE_OUT)
    async def take_out(self, ref: str) -> Carried:
        """What was put away. Raises `NotFound`."""
        return msgspec.json.decode(await self._payloads.kept(ref), type=Carried)

    @activity.defn(name=envelopes.SHORTEN)
    async def shorten(self, long: Long) -> Shortened:
        """Put an output away that is too long to be handed on."""
        return Shortened(await self._payloads.shortened(long.owner, long.payload, limit_bytes=0))

    @activity.defn(name=envelopes.RENEW)
    async def renew(self, given: Named) -> None:
        """Let these blobs, and those that they name in turn, count as new: a run that goes on names them."""
        await self._blobs.touch(await named(self._blobs, given))

    async def _beat(self, given: Given, details: Callable[[], Payload | None]) -> None:
        """Heartbeats until it is cancelled; a long execution is shown as running by the first that is late enough.

        A short one does without any, unless another execution has left it details that must not be lost.
        """
        if given.work.details is not None:
            activity.heartbeat(Beaten(details()))
        if not given.work.resume:  # one that resumes has been shown as soon as it was given out
            await asyncio.sleep(_LEASE_SECONDS)
            await self._started(given, details())
        while True:
            activity.heartbeat(Beaten(details()))
            await asyncio.sleep(_BEAT_SECONDS)

    async def _started(self, given: Given, details: Payload | None) -> None:
        work = given.work
        told = about(work, given.incarnation, self._clock.now_ms())
        started = NodeStarted(**told, worker=self._name, details=details)
        try:
            await self._signal(Told(started))
        except LogUnavailable:
            activity.logger.warning("%s/%d could not be shown as running", work.node, work.attempt)

    def _report(self, streaming: NodeStreaming) -> "asyncio.Future[Any]":
        task = asyncio.create_task(self._signal(Told(streaming)), name="beluga-report")
        self._telling.add(task)
        task.add_done_callback(self._reported)
        return task

    def _reported(self, task: "asyncio.Task[None]") -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # its attempt raises it

    async def _signal(self, told: Told) -> None:
        """Tell the workflow that asked for this execution. Raises `LogUnavailable`; one that is over need not know."""
        info = activity.info()
        assert info.workflow_id is not None, "the interpreter asks for it"
        handle = self._client.get_workflow_handle(info.workflow_id, first_execution_run_id=None)
        try:
            await handle.signal(envelopes.TELL, told)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise LogUnavailable(f"Temporal does not take what {info.activity_id} tells: {error}") from error


def _handed_back(why: str, details: Payload | None = None) -> ApplicationError:
    """Nobody's fault, and nothing to log. What its handler told last is for the next attempt."""
    return ApplicationError(why, Beaten(details), type=envelopes.HANDED_BACK, category=ApplicationErrorCategory.BENIGN)
