"""Histograms that are counted outside of the SDK are told as the SDK would tell them, to every reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricsData,
)
from prometheus_client import CollectorRegistry, generate_latest

from beluga_stream.adapters.otel.exporting import SCOPE, Exports, kept_histograms
from beluga_stream.adapters.otel.histograms import KeptHistograms
from beluga_stream.adapters.otel.telemetry import OtelTelemetry

_NAME = "orchestration_node_duration_seconds"


def _telemetry(exports: Exports, histograms: KeptHistograms | None) -> OtelTelemetry:
    return OtelTelemetry(exports.meters.get_meter(SCOPE), alone=True, histograms=histograms)


def _point(data: MetricsData | None) -> HistogramDataPoint:
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    (metric,) = [metric for metric in scope.metrics if metric.name == _NAME]
    assert metric.unit == "s"
    assert isinstance(metric.data, Histogram)
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    (point,) = metric.data.data_points
    return point


def _told(histograms: KeptHistograms | None, seconds: list[float]) -> HistogramDataPoint:
    reader = (InMemoryMetricReader if histograms is None else histograms.read_by(InMemoryMetricReader))()
    exports = Exports("test", readers=[reader], histograms=histograms)
    telemetry = _telemetry(exports, histograms)
    telemetry.node_began("g", 0.0)
    for value in seconds:
        telemetry.node_ended("g", "n", success=True, seconds=value)
    point = _point(reader.get_metrics_data())  # type: ignore[attr-defined] - of the reader's own class
    exports.close()
    return point


@given(st.lists(st.floats(0, 4_000) | st.sampled_from([0.0, 0.001, 0.1, 1_800.0]), min_size=1))
def test_a_histogram_is_what_the_sdk_makes_of_the_same(seconds: list[float]) -> None:
    ours, theirs = _told(kept_histograms(None), seconds), _told(None, seconds)
    assert ours.sum == pytest.approx(theirs.sum)
    assert dict(ours.attributes or {}) == dict(theirs.attributes or {})
    for name in ("count", "bucket_counts", "explicit_bounds", "min", "max"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_prometheus_shows_the_same_text() -> None:
    texts: list[str] = []
    for histograms in (kept_histograms(None), None):
        registry = CollectorRegistry()
        made = PrometheusMetricReader if histograms is None else histograms.read_by(PrometheusMetricReader)
        reader = made(registry=registry, scope_info_enabled=False)  # type: ignore[call-arg] - of that class
        exports = Exports("test", readers=[reader], histograms=histograms)
        telemetry = _telemetry(exports, histograms)
        telemetry.node_began("g", 0.25)
        telemetry.node_ended("g", "n", success=False, seconds=0.5)
        telemetry.run_started("graph", "g", 3)
        telemetry.run_ended("graph", "g", success=True, seconds=2)
        texts.append(generate_latest(registry).decode())
        exports.close()
    ours, theirs = (sorted(line for line in text.splitlines() if line.startswith("orchestration")) for text in texts)
    assert ours == theirs
    assert any(line.startswith(f'{_NAME}_bucket{{graph_name="g",le="0.5",node="n"') for line in ours)


def test_two_readers_see_all_of_it_each_time() -> None:
    histograms = kept_histograms(None)
    assert histograms is not None
    readers = [histograms.read_by(InMemoryMetricReader)() for _ in range(2)]
    exports = Exports("test", readers=readers, histograms=histograms)
    telemetry = _telemetry(exports, histograms)
    telemetry.node_began("g", 0.0)
    for count in (1, 2):
        telemetry.node_ended("g", "n", success=True, seconds=1)
        assert [_point(reader.get_metrics_data()).count for reader in readers] == [count, count]  # type: ignore[attr-defined]
    exports.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
    ],
)
def test_what_only_the_sdk_does_is_left_to_it(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    assert kept_histograms(OTLPMetricExporter()) is not None
    monkeypatch.setenv(variable, value)
    assert kept_histograms(OTLPMetricExporter()) is None
