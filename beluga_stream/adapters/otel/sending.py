"""Spans that wait for their export, in a bounded queue, and are sent; those that are lost are counted."""

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .finished import Encoded, Finished
from .told import Told

log = logging.getLogger("beluga_stream.telemetry")

_QUEUE = 8_192
_AT_ONCE = 2_048
"""Four times what the SDK has: a request costs as much as a hundred spans in it, and there are thousands a second."""

Sends = Callable[[Sequence[Any]], bool]
"""Sends spans; whether they have arrived."""


Encodes = Callable[[Finished], bytes]


class Sender(SpanExporter):
    """Another exporter of spans, told about. `encode`: how a finished one becomes bytes, if the other sends such."""

    def __init__(self, exporter: SpanExporter, resource: Resource, scope: str) -> None:
        self.told = Told("traces")
        self.taken = 0
        self.failed = 0
        self._exporter = exporter
        self.encode: Encodes | None
        self._sends_encoded: Sends | None
        self.encode, self._sends_encoded = _encoded_by(exporter, resource, scope)

    def export(self, spans: Sequence[ReadableSpan | Encoded]) -> SpanExportResult:
        self.taken += len(spans)
        encoded = [span.told for span in spans if isinstance(span, Encoded)]
        others = [span for span in spans if not isinstance(span, Encoded)]
        arrived = all([self._arrived(self._sends_encoded, encoded), self._arrived(self._sends_others, others)])
        self.told.heard(success=arrived)
        return SpanExportResult.SUCCESS if arrived else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _arrived(self, sends: Sends | None, spans: Sequence[Any]) -> bool:
        if not spans:
            return True
        try:
            arrived = sends is not None and sends(spans)
        except Exception:
            # Whatever an exporter raises: its spans are lost, and the engine goes on.
            log.debug("traces cannot be exported", exc_info=True)
            arrived = False
        self.failed += 0 if arrived else len(spans)
        return arrived

    def _sends_others(self, spans: Sequence[ReadableSpan]) -> bool:
        return self._exporter.export(spans) is SpanExportResult.SUCCESS


class Waiting(BatchSpanProcessor):
    """The SDK's queue, which counts what does not fit. OTEL_BSP_... say how much waits for how long."""

    def __init__(self, sender: Sender) -> None:
        self._most = _number(OTEL_BSP_MAX_QUEUE_SIZE, _QUEUE)
        self._sender = sender
        self._ended = itertools.count(1)
        """Counts without a lock: every span of the process goes by here."""
        self._dropped = 0
        self._dropping = threading.Lock()
        at_once = min(_number(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, _AT_ONCE), self._most)
        super().__init__(sender, self._most, max_export_batch_size=at_once)
        self._few = at_once - 1
        self._queue: deque[Encoded] | None = getattr(getattr(self, "_batch_processor", None), "_queue", None)
        """The SDK's own, as long as it has it by that name."""

    @property
    def takes_finished(self) -> bool:
        return self._sender.encode is not None

    def on_end(self, span: ReadableSpan | Encoded) -> None:
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        if next(self._ended) - self._dropped - self._sender.taken > self._most:
            with self._dropping:
                self._dropped += 1
            self._sender.told.full(self._most)
        super().on_end(span)  # type: ignore[arg-type]  # it looks at nothing but the context

    def take(self, span: Finished) -> None:
        """As `on_end`, by the shortest way as long as nobody need be told that there is enough for a request.

        It is encoded at once: what it is about is at hand now, and has left the processor's caches when it is sent.
        """
        encode, queue = self._sender.encode, self._queue
        assert encode is not None, "it takes no finished spans"
        encoded = Encoded(encode(span))
        if queue is None or len(queue) >= self._few:
            self.on_end(encoded)
            return
        next(self._ended)
        queue.appendleft(encoded)

    def lost(self) -> Mapping[str, int]:
        """How many spans were lost so far, by the reason: `queue`, it was full; `export`, nobody took them."""
        return {"queue": self._dropped, "export": self._sender.failed}


def _encoded_by(exporter: SpanExporter, resource: Resource, scope: str) -> tuple[Encodes, Sends] | tuple[None, None]:
    """What encodes spans and sends them by the same endpoint, headers, compression and tries as the exporter its own.

    Only that of OTLP over HTTP takes bytes, and only by a name of its own: with any other, and should that name go, all
    spans are the SDK's.
    """
    client = getattr(exporter, "_client", None)
    if type(exporter).__module__ != "opentelemetry.exporter.otlp.proto.http.trace_exporter" or client is None:
        return None, None
    from .protobuf import Encoding, encoded  # noqa: PLC0415 - it needs the exporter's package, which others come without

    encoding = Encoding(resource, scope)
    return encoded, lambda spans: bool(client.export(encoding.request(spans)).success)


def _number(variable: str, default: int) -> int:
    try:
        return int(os.environ.get(variable, default))
    except ValueError:
        return default
