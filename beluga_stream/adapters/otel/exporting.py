"""Providers whose traces and metrics leave the process, and the end of both within a bound.

All that the SDK takes from variables OTEL_... is taken from there: endpoint, headers, protocol, service name, sampler,
and how much waits in memory. An exporter that cannot export says so once, and once when it can again.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DefaultAggregation, ExplicitBucketHistogramAggregation
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter

from .histograms import KeptHistograms
from .ids import AgreedIds
from .sending import Sender, Waiting
from .told import Told

log = logging.getLogger("beluga_stream.telemetry")

SCOPE = "beluga_stream"
"""What the engine's spans and metrics are of."""

_SDK_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk", "urllib3")
_CLOSE_SECONDS = 5.0
_COUNTS_ITSELF = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_ENOUGH = 32
"""Neither attributes nor links of the engine's own spans are more."""
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"


class Process(Resource):
    """What all spans of a process have in common. Its hash is asked for with each span that is encoded."""

    def __init__(self, of: Resource) -> None:
        super().__init__(of.attributes, of.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Tracers(TracerProvider):
    """One whose spans need not all be the SDK's: `quick` takes finished ones, as long as nobody else wants spans."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource=resource, shutdown_on_exit=False, id_generator=AgreedIds())
        self.quick: Waiting | None = None
        self._processors = 0

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        self._processors += 1
        self.quick = None
        if self._processors == 1 and isinstance(span_processor, Waiting):
            self.quick = span_processor if span_processor.takes_finished and _is_as_shipped() else None
        super().add_span_processor(span_processor)


def _is_as_shipped() -> bool:
    """Whether nobody asks for what only the SDK does: to count its own spans, or to cut them short."""
    limits = SpanLimits()
    bounds = (limits.max_span_attributes, limits.max_links)
    return (
        os.environ.get(_COUNTS_ITSELF, "").strip().lower() != "true"
        and limits.max_span_attribute_length is None
        and all(bound is None or bound >= _ENOUGH for bound in bounds)
    )


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


def kept_histograms(exporter: MetricExporter | None) -> KeptHistograms | None:
    """Histograms as the SDK would tell them; None when something is wanted of them that only the SDK does."""
    if _EXEMPLARS in os.environ:
        return None
    if exporter is not None:
        temporality = (exporter._preferred_temporality or {}).get(Histogram)  # noqa: SLF001 - nothing else knows it
        aggregation = (exporter._preferred_aggregation or {}).get(Histogram)  # noqa: SLF001 - as above
        if temporality not in {None, AggregationTemporality.CUMULATIVE} or not isinstance(
            aggregation, ExplicitBucketHistogramAggregation | DefaultAggregation | None
        ):
            return None
    return KeptHistograms(SCOPE)


class Exports:
    """The providers of a process. `tracers` is None when no traces leave it."""

    def __init__(
        self,
        service: str,
        *,
        spans: SpanExporter | None = None,
        metrics: MetricExporter | None = None,
        readers: Sequence[MetricReader] = (),
        histograms: KeptHistograms | None = None,
    ) -> None:
        for name in _SDK_LOGGERS:
            # They tell of each request that failed, and of each try; we tell of the first.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # Which process it was stands once in what is exported, and not in each span.
        process = {SERVICE_NAME: service, SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{os.getpid()}"}
        resource = Process(Resource.create(process).merge(OTELResourceDetector().detect()))
        self.histograms = histograms
        periodic: Any = PeriodicExportingMetricReader
        if histograms is not None:
            periodic = histograms.read_by(periodic)
        every = [] if metrics is None else [periodic(ToldMetrics(metrics))]
        # Nobody has asked for exemplars: they cost a third of each measurement.
        exemplars = None if _EXEMPLARS in os.environ else AlwaysOffExemplarFilter()
        self.meters = MeterProvider([*every, *readers], resource, exemplars, shutdown_on_exit=False)
        self.tracers: Tracers | None = None
        self._waiting: Waiting | None = None
        if spans is not None:
            self.tracers = Tracers(resource)
            self._waiting = Waiting(Sender(spans, resource, SCOPE))
            self.tracers.add_span_processor(self._waiting)

    def lost_spans(self) -> Mapping[str, int]:
        """How many were not exported, by the reason."""
        return {"queue": 0, "export": 0} if self._waiting is None else self._waiting.lost()

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what waits, for as long as that; what an exporter has not taken by then is lost."""
        until = time.monotonic() + seconds
        ends: list[Callable[[], object]] = [lambda: self.meters.shutdown(seconds * 1000)]
        if self.tracers is not None:
            ends.append(self.tracers.shutdown)
        threads = [threading.Thread(target=_quietly, args=(end, until), daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if time.monotonic() >= until:
            log.warning("telemetry was not sent within %g s: it is lost", seconds, extra={"action": "telemetry.lost"})


def _quietly(end: Callable[[], object], until: float) -> None:
    try:
        end()
    except Exception:
        if time.monotonic() < until:  # else it is out of time, as `close` says: the SDK raises for that, too
            log.exception("telemetry could not be sent at the end", extra={"action": "telemetry.lost"})
