"""Histograms that cost next to nothing: their buckets are counted here, and told when a reader collects.

A histogram of OpenTelemetry's SDK takes some ten microseconds for each measurement, with two readers twice that.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from time import time_ns
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from . import catalog


class _Series:
    """One histogram's measurements of the same attributes."""

    __slots__ = ("began", "counts", "greatest", "least", "total")

    def __init__(self, buckets: int) -> None:
        self.began = time_ns()
        self.counts = [0] * buckets
        self.total = 0.0
        self.least = inf
        self.greatest = -inf


class KeptHistogram:
    """One histogram, measured in one thread."""

    def __init__(self, name: str, metric: catalog.Metric) -> None:
        self._name = name
        self._metric = metric
        self._bounds = metric.buckets
        self._series: dict[tuple[str | bool, ...], _Series] = {}

    def record(self, value: float, attributes: Mapping[str, str | bool]) -> None:
        """As an instrument's; the attributes are all of the metric's, in the order of the catalog."""
        self.record_all((value,), attributes)

    def record_all(self, values: Sequence[float], attributes: Mapping[str, str | bool]) -> None:
        """As `record`, for each of at least one."""
        key = tuple(attributes.values())
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(len(self._bounds) + 1)
        counts, bounds = series.counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        series.total += sum(values)
        series.least = min(series.least, *values)
        series.greatest = max(series.greatest, *values)

    def told(self) -> Iterable[Metric]:
        """All so far. It is collected in another thread: a sum may lack the measurement of this very moment."""
        points = [self._point(key, series) for key, series in list(self._series.items())]
        if points:
            metric = self._metric
            yield Metric(self._name, metric.meaning, metric.unit, Histogram(points, AggregationTemporality.CUMULATIVE))

    def _point(self, key: Sequence[str | bool], series: _Series) -> HistogramDataPoint:
        counts = tuple(series.counts)
        return HistogramDataPoint(
            dict(zip(self._metric.attributes, key, strict=True)),
            series.began,
            time_ns(),
            sum(counts),
            series.total,
            counts,
            self._bounds,
            series.least,
            series.greatest,
        )


class KeptHistograms:
    """Those of a process. Each of its readers must be of a class of `read_by`, or it does not see them."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._all: list[KeptHistogram] = []

    def histogram(self, name: str, metric: catalog.Metric) -> KeptHistogram:
        """A new one."""
        made = KeptHistogram(name, metric)
        self._all.append(made)
        return made

    def among(self, data: MetricsData) -> MetricsData:
        """What the SDK has collected, and these."""
        told = [metric for histogram in self._all for metric in histogram.told()]
        if not told or not data.resource_metrics:
            return data
        first, *others = data.resource_metrics
        return MetricsData([self._among(first, told), *others])

    def _among(self, of: ResourceMetrics, told: Sequence[Metric]) -> ResourceMetrics:
        scopes = [
            replace(scope, metrics=[*scope.metrics, *told]) if scope.scope.name == self._scope else scope
            for scope in of.scope_metrics
        ]
        if not any(scope.scope.name == self._scope for scope in of.scope_metrics):
            scopes.append(ScopeMetrics(InstrumentationScope(self._scope), told, ""))
        return replace(of, scope_metrics=scopes)

    def read_by(self, reader: type[MetricReader]) -> Any:
        """The same class of readers, of these as well."""
        kept = self
        of: Any = reader

        class Reader(of):  # type: ignore[misc]  # of which class it is, is known only here
            def _receive_metrics(
                self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
            ) -> None:
                super()._receive_metrics(kept.among(metrics_data), timeout_millis, **kwargs)

        return Reader
