"""What a role counts and traces, in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from beluga_stream.adapters.otel.ids import AgreedIds
from beluga_stream.adapters.otel.spans import OtelSpans
from beluga_stream.adapters.otel.telemetry import OtelTelemetry


class Measured:
    """`telemetry` and `spans` for a role, and what came of them."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self._tracers = TracerProvider(sampler, shutdown_on_exit=False, id_generator=AgreedIds())
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = OtelTelemetry(self._meters.get_meter("test"), alone=True)
        self.spans = OtelSpans(self._tracers.get_tracer("test"))

    def metrics(self) -> dict[str, Metric]:
        """Each metric that has been told, without the prefix."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name.removeprefix("orchestration_"): metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """A metric's values by those of its attributes; of a histogram its counts."""
        metric = self.metrics().get(name)
        if metric is None:
            return {}
        return {
            tuple((point.attributes or {}).values()): getattr(point, "value", getattr(point, "count", 0))
            for point in metric.data.data_points
        }

    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def close(self) -> None:
        self._meters.shutdown()
        self._tracers.shutdown()


@contextmanager
def measured(sampler: Sampler | None = None) -> Iterator[Measured]:
    """It, closed after use."""
    found = Measured(sampler)
    try:
        yield found
    finally:
        found.close()
