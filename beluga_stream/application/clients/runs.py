"""The engine's front desk: start runs, follow them, and send them signals, cancels, retries and overrides.

Speaks JSON and ids; the typed client in `api` is a thin cover over it.
"""

import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ...bounds import within
from ...domain.events import CancelRequested, RetryRequested, RunRequested, SignalReceived
from ...domain.ids import API, GraphHash, RunId, key_of, run_id
from ...domain.payload import NOTHING, Inline, Json, Payload
from ...errors import NotFound
from ...ports.clock import Clock
from ...ports.log import Appender, Outgoing, Reader
from ...ports.spans import NO_SPANS, Of, Spans
from .. import codec, tracing
from ..catalog import Catalog
from ..messages import Summary
from ..payloads import Payloads
from ..requests import check_size, check_words
from ..topics import Topics
from .answer import Answer, Asked, check_ended
from .following import FOLLOWED_FROM_START, Following
from .forks import Forks
from .overrides import Overrides
from .results import Event, NodeChanged, RunChanged
from .signalling import Signals
from .summaries import TOLD_WITHIN_SECONDS, Summaries, check_retry

_REMEMBERED = 100_000
"""Most runs of which it is known what was asked for them here."""


class Started(NamedTuple):
    """A start that is durable: its run, its input's digest, and where the run's stream ended before it."""

    run: RunId
    digest: str
    since: int
    graph: str


class Runs:
    """Starts and follows runs through the log."""

    def __init__(  # noqa: PLR0913 - what it is wired with, by name
        self,
        *,
        topics: Topics,
        appender: Appender,
        reader: Reader,
        payloads: Payloads,
        clock: Clock,
        partition: Callable[[str], int],
        follows_starts: int = FOLLOWED_FROM_START,
        told_within_seconds: float = TOLD_WITHIN_SECONDS,
        spans: Spans = NO_SPANS,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._names = topics
        self._appender = appender
        self.payloads = payloads
        self._clock = clock
        self._partition_of = partition
        self._new_id = new_id
        self._spans = spans
        self._summaries = Summaries(reader, topics.runs, self._partition, told_within_seconds)
        self._following = Following(
            reader=reader,
            topic=topics.run_results,
            payloads=payloads,
            summaries=self._summaries,
            partition=self._partition,
            most_from_start=follows_starts,
        )
        catalog = Catalog(reader, topics)
        self._overrides = Overrides(clock=clock, summaries=self._summaries, catalog=catalog)
        self._signals = Signals(self._summaries, catalog)
        self._forks = Forks(
            topics=topics,
            reader=reader,
            payloads=payloads,
            clock=clock,
            summaries=self._summaries,
            catalog=catalog,
            partition=self._partition,
            new_id=new_id,
        )
        self._asked: OrderedDict[RunId, Asked] = OrderedDict()

    async def close(self) -> None:
        await self._summaries.close()
        await self._following.close()

    async def start(  # noqa: PLR0913 - options, each given by its name
        self,
        graph: str,
        value: Json,
        *,
        definition: GraphHash | None = None,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_ms: int | None = None,
        trace: str | None = None,
    ) -> RunId:
        """Request a run; returns its id once the request is durable. The same key is the same run."""
        started = await self.request(
            graph,
            value,
            definition=definition,
            idempotency_key=idempotency_key,
            tags=tags,
            timeout_ms=timeout_ms,
            trace=trace,
        )
        return started.run

    async def request(  # noqa: PLR0913 - options, each given by its name
        self,
        graph: str,
        value: Json,
        *,
        definition: GraphHash | None = None,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_ms: int | None = None,
        trace: str | None = None,
    ) -> Started:
        """As `start`, with what tells a refusal of this start from that of another one."""
        run = run_id(graph, API, idempotency_key if idempotency_key is not None else self._new_id())
        topic = self._names.run_requests
        facts = tracing.messaging("send", topic, run) | {"beluga.run": run, "beluga.graph": graph}
        with self._spans.span(f"send {topic}", facts, of=Of(trace, "producer")) as span:
            request = RunRequested(
                run=run,
                key=str(run),
                at_ms=self._clock.now_ms(),
                graph=graph,
                definition=definition,
                input=await self.payloads.store(str(run), value),
                digest=self.payloads.digest(value),
                tags=dict(tags or {}),
                trace=span.trace or trace,
                timeout_ms=timeout_ms,
            )
            return await self.submit(request, fresh=idempotency_key is None)

    async def fork(
        self, run: RunId, node: str, *, edited: Inline | None = None, idempotency_key: str | None = None
    ) -> RunId:
        """Request a run that goes on from another one at a node; see `request_fork`."""
        return (await self.request_fork(run, node, edited=edited, idempotency_key=idempotency_key)).run

    async def request_fork(
        self,
        run: RunId,
        node: str,
        *,
        edited: Inline | None = None,
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> Started:
        """Request a run that takes over what comes before the node from an earlier run, and executes the rest.

        `edited` is what the node is given instead of what it was (of several parameters a mapping by name). The same
        run, node and key are the same fork. Raises `NotFound` for an unknown run or node, `Expired` for what is kept
        no longer, `InvalidState` for what cannot be forked there, `InvalidInput` for an edited input that cannot be.
        """
        request = await self._forks.request(run, node, edited=edited, idempotency_key=idempotency_key, trace=trace)
        return await self.submit(request, fresh=idempotency_key is None)

    async def submit(self, request: RunRequested, *, fresh: bool = False) -> Started:
        """Send a request; its run is followed from here on. `fresh`: nobody can have started it before.

        Raises `InvalidInput` for one that is too large: nobody would answer it.
        """
        run, digest = request.run, request.digest
        encoded = codec.incoming.encode(request)
        check_size(request, len(encoded))
        since = await self._following.begin(run, digest, fresh=fresh)
        asked = Asked(digest, since, self.asked(run).retried)
        self._remember(run, asked)
        await self._send(self._names.run_requests, run, encoded, request.trace)
        # Others may have given the key another input meanwhile: whoever gets the answer now finds what they asked for.
        self._remember(run, replace(asked, retried=self.asked(run).retried))
        return Started(run, digest, since, request.graph)

    async def cancel(self, run: RunId, reason: str = "") -> None:
        """Raises `InvalidInput` for a reason that is too long."""
        event = CancelRequested(run=run, key=str(run), at_ms=self._clock.now_ms(), reason=reason)
        check_words(event)
        await self._send(self._names.run_events, run, codec.incoming.encode(event))

    async def retry(self, run: RunId) -> None:
        await self.request_retry(run)

    async def request_retry(self, run: RunId) -> int:
        """As `retry`; returns where the run's stream ended before it: an end from before is no answer to it.

        Raises `InvalidState` or `Expired` where the run's summary shows that nothing would come of it.
        """
        check_retry(run, await self.summary(run), self._clock.now_ms())
        end = await self._following.end(run)
        self._remember(run, replace(self.asked(run), retried=end))
        event = RetryRequested(run=run, key=str(run), at_ms=self._clock.now_ms(), id=self._new_id())
        await self._send(self._names.run_events, run, codec.incoming.encode(event))
        return end

    def asked(self, run: RunId) -> Asked:
        """What was asked for this run here; nothing, for a run of others."""
        return self._asked.get(run, Asked())

    async def override(
        self, run: RunId, node: str, *, timeout_ms: int | None = None, attempts: int | None = None
    ) -> None:
        """Give a node of a run that goes on, or may be retried, another timeout or number of attempts.

        It holds for attempts that begin after it (docs/operating.md says what it reaches), and replaces an earlier
        override of the node: what is None is as the definition has it. Raises `NotFound` for an unknown run or node,
        `InvalidState` or `Expired` for a run that cannot go on, `InvalidInput` for what cannot be overridden so.
        """
        event = await self._overrides.request(
            run, node, timeout_ms=timeout_ms, attempts=attempts, is_expected=run in self._asked
        )
        await self._send(self._names.run_events, run, codec.incoming.encode(event))

    async def signal(
        self,
        run: RunId,
        signal: str,
        value: Json,
        *,
        id: str | None = None,  # noqa: A002 - the field's name
        checked: bool = False,
    ) -> None:
        """Raises `InvalidInput` for a name or id that is too long, and what the port says with `checked`."""
        if checked:
            await self._signals.check(run, signal, value)
        event = SignalReceived(
            run=run,
            key=str(run),
            at_ms=self._clock.now_ms(),
            signal=signal,
            id=id or self._new_id(),
            value=await self.payloads.store(str(run), value),
        )
        check_words(event)
        await self._send(self._names.run_events, run, codec.incoming.encode(event))

    async def follow(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event, None]:
        """The run's events from its beginning, after a cursor or from now on (`live`), up to its end.

        Or up to the refusal of its start, if that is the answer to the caller. Chunk values are JSON. A run that this
        object has started is followed live without a look at the log. Raises `Expired` for what retention has removed,
        `InvalidInput` for a cursor that is none of this run.
        """
        answer = Answer(run, self.asked(run) if asked is None else asked)
        async with contextlib.aclosing(self.listen(run, after=after, asked=asked)) as events:
            async for event in events:
                answer.hear(event)
                if event is not None:
                    yield event
                if answer.refused is not None:
                    return

    async def load(self, payload: Payload) -> Json:
        """The value of an output that an event carries."""
        return await self.payloads.load(payload)

    async def result(self, run: RunId, *, timeout_seconds: float | None = None, asked: Asked | None = None) -> Json:
        """Wait for the run's end. Raises `RunFailed`, `TaskCanceled`, `RunRejected` or `TimedOut`."""
        answer = Answer(run, self.asked(run) if asked is None else asked)
        try:
            async with within(timeout_seconds), contextlib.aclosing(self.listen(run, asked=asked)) as events:
                async for event in events:
                    answer.hear(event)
                    answer.check()
        except TimeoutError as error:
            raise answer.late(timeout_seconds) from error
        return await self.outcome(run, answer.ended, undone=answer.undone)

    def listen(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event | None, None]:
        """As `follow`, whatever was refused; None says that all which was there at the call has been given.

        `asked` is what the caller has asked for the run, by default through this object: see `Following.listen`. The
        end of a run that was started with another input never counts: the refusal comes.
        """
        mine = self.asked(run)
        asked = mine if asked is None else replace(asked, retried=max(mine.retried, asked.retried))
        return self._following.listen(run, asked, after=after)

    async def outputs(self, run: RunId, node: str, *, asked: Asked | None = None) -> Json:
        """What a node has given. Raises `NotFound` when the run ended without it."""
        async with contextlib.aclosing(self.follow(run, asked=asked)) as events:
            async for event in events:
                if isinstance(event, NodeChanged) and event.node == node and event.status == "succeeded":
                    return await self.payloads.load(event.output or NOTHING)
        raise NotFound(f"run {run} has no output of {node!r}", run=run, node=node)

    async def summary(self, run: RunId) -> Summary | None:
        """The newest summary of a run, from `beluga.runs`."""
        return await self._summaries.newest(run)

    async def summaries(self) -> list[Summary]:
        """The newest summary of every run that `beluga.runs` still has, oldest start first, then by id."""
        newest = {summary.run: summary async for summary in self.each_summary()}
        return sorted(newest.values(), key=lambda summary: (summary.started_ms, summary.run))

    def each_summary(self) -> AsyncIterator[Summary]:
        """Every summary that `beluga.runs` still has, older ones of a run among them."""
        return self._summaries.each()

    async def outcome(self, run: RunId, event: RunChanged, *, undone: bool) -> Json:
        """What a run that has ended so gave. Raises what another end means."""
        check_ended(run, event, undone=undone)
        try:
            return await self.payloads.load(event.output or NOTHING)
        except NotFound as error:
            raise NotFound(f"the result of run {run} is kept no longer: {error}", run=run) from error

    def _partition(self, run: RunId) -> int:
        return self._partition_of(key_of(run))

    def _remember(self, run: RunId, asked: Asked) -> None:
        self._asked.pop(run, None)
        self._asked[run] = asked
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    async def _send(self, topic: str, run: RunId, value: bytes, trace: str | None = None) -> None:
        await self._appender.append([Outgoing(topic, str(run).encode(), value, tracing.headers_of(trace))])
