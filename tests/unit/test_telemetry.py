"""The metrics have the names that dashboards are built on, and "active" goes down again."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from beluga_stream.adapters.otel.telemetry import OtelTelemetry


def _values(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, object], float]]]:
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, list[tuple[dict[str, object], float]]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = [
                    (
                        dict(point.attributes or {}),
                        getattr(point, "value", None) or getattr(point, "count", 0),
                    )
                    for point in metric.data.data_points
                ]
    return found


def test_runs_are_counted_by_name_and_success() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    telemetry = OtelTelemetry(provider.get_meter("test"))
    telemetry.run_started("graph", "stories", 7)
    telemetry.run_started("graph", "stories", 7)
    telemetry.run_started("chain", "words", 2)
    telemetry.run_ended("graph", "stories", success=True, seconds=1.5)
    telemetry.run_ended("chain", "words", success=False, seconds=0.5)
    values = _values(reader)
    provider.shutdown()
    assert values["orchestration_graph_executions_total"] == [({"graph_name": "stories", "success": True}, 1)]
    assert values["orchestration_chain_errors_total"] == [({"chain_name": "words"}, 1)]
    assert values["orchestration_active_graphs"] == [({"graph_name": "stories"}, 1)]
    assert values["orchestration_active_chains"] == [({"chain_name": "words"}, 0)]
    assert values["orchestration_graph_nodes"] == [({"graph_name": "stories"}, 2)]
    assert sorted(value for _, value in values["orchestration_executions_total"]) == [1, 1]
    assert values["orchestration_errors_total"] == [({}, 1)]
    assert values["orchestration_graph_duration_seconds"] == [({"graph_name": "stories", "success": True}, 1)]


def test_stuck_runs_are_counted_by_reason_and_go_down_again() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    telemetry = OtelTelemetry(provider.get_meter("test"))
    for reason, change in (("worker", 1), ("worker", 1), ("lease", 1), ("worker", -1), ("lease", -1)):
        telemetry.stuck(reason, change)
    values = _values(reader)
    provider.shutdown()
    assert values["orchestration_stuck_runs"] == [({"reason": "worker"}, 1), ({"reason": "lease"}, 0)]
