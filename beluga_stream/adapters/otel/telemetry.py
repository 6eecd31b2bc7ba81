"""The engine's metrics in OpenTelemetry, by the names of the catalog."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics

from ...ports.telemetry import Lag, TriggerOutcome
from .catalog import KINDS, METRICS, Metric
from .sums import KeptSum

if TYPE_CHECKING:
    from .histograms import KeptHistograms


class OtelTelemetry:
    """The port `Telemetry`. `prefix` begins every name. `alone`: one thread counts by this meter, and nobody else.

    `histograms` are told beside the meter's; None: they are the meter's.
    """

    def __init__(
        self,
        meter: metrics.Meter | None = None,
        *,
        prefix: str = "orchestration",
        alone: bool = False,
        histograms: "KeptHistograms | None" = None,
    ) -> None:
        self._meter = meter or metrics.get_meter("beluga_stream")
        self._prefix = prefix
        self._lags: list[Callable[[], Iterable[Lag]]] = []
        made = {
            metric.name: _instrument(self._meter, f"{prefix}_{metric.name}", metric, histograms, alone=alone)
            for metric in METRICS
            if not metric.is_watched
        }
        self._executions = {kind: made[f"{kind}_executions_total"] for kind in KINDS}
        self._errors = {kind: made[f"{kind}_errors_total"] for kind in KINDS}
        self._durations = {kind: made[f"{kind}_duration_seconds"] for kind in KINDS}
        self._active = {kind: made[f"active_{kind}s"] for kind in KINDS}
        self._nodes = made["graph_nodes"]
        self._all = made["executions_total"]
        self._all_errors = made["errors_total"]
        self._stuck = made["stuck_runs"]
        self._expiries = made["lease_expiries_total"]
        self._waits = made["queue_wait_seconds"]
        self._node_durations = made["node_duration_seconds"]
        self._in_flight = made["nodes_in_flight"]
        self._triggers = made["triggers_total"]
        self._letters = made["dead_letters_total"]
        self._recoveries = made["recovery_seconds"]

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        self.runs_started(kind, name, nodes, 1)

    def runs_started(self, kind: str, name: str, nodes: int, count: int) -> None:
        """As `run_started`, so many times."""
        self._active[kind].add(count, {f"{kind}_name": name})
        if kind == "graph":
            _record(self._nodes, [nodes] * count, {"graph_name": name})

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        self.runs_ended(kind, name, success=success, seconds=(seconds,))

    def runs_ended(self, kind: str, name: str, *, success: bool, seconds: Sequence[float]) -> None:
        """As `run_ended`, for each of these."""
        count = len(seconds)
        told: dict[str, str | bool] = {f"{kind}_name": name, "success": success}
        self._active[kind].add(-count, {f"{kind}_name": name})
        self._executions[kind].add(count, told)
        _record(self._durations[kind], seconds, told)
        self._all.add(count, {"success": success})
        if not success:
            self._errors[kind].add(count, {f"{kind}_name": name})
            self._all_errors.add(count)

    def runs_owned(self, kind: str, name: str, change: int) -> None:
        self._active[kind].add(change, {f"{kind}_name": name})

    def stuck(self, reason: str, change: int) -> None:
        self._stuck.add(change, {"reason": reason})

    def node_began(self, graph: str, waited: float) -> None:
        self.in_flight(1)
        self.nodes_waited(graph, (waited,))

    def nodes_waited(self, graph: str, waits: Sequence[float]) -> None:
        """So long each of these was on its way to a worker."""
        # Two clocks may disagree, and nothing waits for less than no time.
        _record(self._waits, [max(0.0, waited) for waited in waits], {"graph_name": graph})

    def node_ended(self, graph: str, node: str, *, success: bool, seconds: float) -> None:
        self.nodes_ended(graph, node, success=success, seconds=(seconds,))

    def nodes_ended(self, graph: str, node: str, *, success: bool, seconds: Sequence[float]) -> None:
        """As `node_ended`, for each of these."""
        _record(self._node_durations, seconds, {"graph_name": graph, "node": node, "success": success})

    def node_left(self) -> None:
        self.in_flight(-1)

    def in_flight(self, change: int) -> None:
        """So many more nodes are, or fewer."""
        self._in_flight.add(change)

    def lease_expired(self, graph: str) -> None:
        self._expiries.add(1, {"graph_name": graph})

    def recovered(self, role: str, seconds: float) -> None:
        self._recoveries.record(seconds, {"role": role})

    def dead_letter(self, role: str, code: str) -> None:
        self._letters.add(1, {"role": role, "code": code})

    def triggered(self, graph: str, trigger: str, outcome: TriggerOutcome) -> None:
        self._triggers.add(1, {"graph_name": graph, "trigger": trigger, "outcome": outcome})

    def watch_lag(self, lags: Callable[[], Iterable[Lag]]) -> None:
        if not self._lags:
            for metric in METRICS:
                if metric.type == "gauge":
                    self._meter.create_observable_gauge(
                        f"{self._prefix}_{metric.name}",
                        callbacks=[self._observed],
                        unit=metric.unit,
                        description=metric.meaning,
                    )
        self._lags.append(lags)

    def watch_lost_spans(self, lost: Callable[[], Mapping[str, int]]) -> None:
        """Ask this, whenever somebody wants to know, how many spans were not exported, by the reason."""

        def observed(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            return [metrics.Observation(count, {"reason": reason}) for reason, count in lost().items()]

        (metric,) = (metric for metric in METRICS if metric.name == "lost_spans_total")
        self._meter.create_observable_counter(f"{self._prefix}_{metric.name}", [observed], metric.unit, metric.meaning)

    def _observed(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        for lags in self._lags:
            for lag in lags():
                yield metrics.Observation(
                    lag.records, {"group": lag.group, "topic": lag.topic, "partition": lag.partition}
                )


def _record(histogram: Any, values: Sequence[float], told: Mapping[str, str | bool]) -> None:
    """Measure all of these. Those of the SDK take one at a time."""
    record_all = getattr(histogram, "record_all", None)
    if record_all is not None:
        record_all(values, told)
        return
    for value in values:
        histogram.record(value, told)


def _instrument(
    meter: metrics.Meter, name: str, metric: Metric, histograms: "KeptHistograms | None", *, alone: bool
) -> Any:
    if histograms is not None and metric.type == "histogram":
        return histograms.histogram(name, metric)
    if alone and metric.type in {"counter", "updown"}:
        return KeptSum(meter, name, metric)
    if metric.type == "counter":
        return meter.create_counter(name, metric.unit, metric.meaning)
    if metric.type == "updown":
        return meter.create_up_down_counter(name, metric.unit, metric.meaning)
    return meter.create_histogram(name, metric.unit, metric.meaning, explicit_bucket_boundaries_advisory=metric.buckets)
