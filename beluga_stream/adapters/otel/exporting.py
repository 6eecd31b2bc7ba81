"""Providers whose traces and metrics leave the process, and the end of both within a bound.

All that the SDK takes from variables OTEL_... is taken from there: endpoint, headers, protocol, service name, sampler,
and how much waits in memory. An exporter that cannot export says so once, and once when it can again.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .ids import AgreedIds

log = logging.getLogger("beluga_stream.telemetry")

_SDK_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk", "urllib3")
_CLOSE_SECONDS = 5.0
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"


class Process(Resource):
    """What all spans of a process have in common. Its hash is asked for with each span that is encoded."""

    def __init__(self, of: Resource) -> None:
        super().__init__(of.attributes, of.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Told:
    """Says when exporting begins to fail, and when it works again; never the same twice."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed = 0

    def heard(self, *, success: bool) -> None:
        """One export has ended."""
        if success:
            failed, self._failed = self._failed, 0
            if failed:
                log.warning("%s are exported again", self._what, extra={"action": "telemetry.back", "failed": failed})
            return
        self._failed += 1
        if self._failed == 1:
            log.warning(
                "%s cannot be exported: the engine goes on, and what does not fit into the bounded queue is lost",
                self._what,
                extra={"action": "telemetry.away"},
            )


class ToldSpans(SpanExporter):
    """Another exporter of spans, told about."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._told = Told("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._told.heard(success=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class ToldMetrics(MetricExporter):
    """Another exporter of metrics, told about."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,  # noqa: SLF001 - nothing else knows what it prefers
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001 - as above
        )
        self._exporter = exporter
        self._told = Told("metrics")

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        result = MetricExportResult.FAILURE
        try:
            result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        finally:
            self._told.heard(success=result is MetricExportResult.SUCCESS)
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class Exports:
    """The providers of a process. `tracers` is None when no traces leave it."""

    def __init__(
        self,
        service: str,
        *,
        spans: SpanExporter | None = None,
        metrics: MetricExporter | None = None,
        readers: Sequence[MetricReader] = (),
    ) -> None:
        for name in _SDK_LOGGERS:
            # They tell of each request that failed, and of each try; we tell of the first.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # Which process it was stands once in what is exported, and not in each span.
        process = {SERVICE_NAME: service, SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{os.getpid()}"}
        resource = Process(Resource.create(process).merge(OTELResourceDetector().detect()))
        every = [] if metrics is None else [PeriodicExportingMetricReader(ToldMetrics(metrics))]
        # Nobody has asked for exemplars: they cost a third of each measurement.
        exemplars = None if _EXEMPLARS in os.environ else AlwaysOffExemplarFilter()
        self.meters = MeterProvider([*every, *readers], resource, exemplars, shutdown_on_exit=False)
        self.tracers: TracerProvider | None = None
        if spans is not None:
            self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=AgreedIds())
            self.tracers.add_span_processor(BatchSpanProcessor(ToldSpans(spans)))

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what waits, for as long as that; what an exporter has not taken by then is lost."""
        ends: list[Callable[[], object]] = [lambda: self.meters.shutdown(seconds * 1000)]
        if self.tracers is not None:
            ends.append(self.tracers.shutdown)
        threads = [threading.Thread(target=_quietly, args=(end,), daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds)
        if any(thread.is_alive() for thread in threads):
            log.warning("telemetry was not sent within %g s: it is lost", seconds, extra={"action": "telemetry.lost"})


def _quietly(end: Callable[[], object]) -> None:
    try:
        end()
    except Exception:
        log.exception("telemetry could not be sent at the end", extra={"action": "telemetry.lost"})
