"""The engine's metrics in OpenTelemetry, by the names that docs/operating.md lists."""

from opentelemetry import metrics

_KINDS = ("chain", "graph", "workflow")


class OtelTelemetry:
    """The port `Telemetry`. `prefix` begins every name."""

    def __init__(self, meter: metrics.Meter | None = None, *, prefix: str = "orchestration") -> None:
        meter = meter or metrics.get_meter("beluga_stream")
        self._executions = {
            kind: meter.create_counter(f"{prefix}_{kind}_executions_total", description=f"{kind} runs that ended")
            for kind in _KINDS
        }
        self._errors = {
            kind: meter.create_counter(f"{prefix}_{kind}_errors_total", description=f"{kind} runs that failed")
            for kind in _KINDS
        }
        self._durations = {
            kind: meter.create_histogram(
                f"{prefix}_{kind}_duration_seconds",
                unit="s",
                description=f"from a {kind} run's start to its end",
            )
            for kind in _KINDS
        }
        self._active = {
            kind: meter.create_up_down_counter(
                f"{prefix}_active_{kind}s", description=f"{kind} runs that this process owns and that go on"
            )
            for kind in _KINDS
        }
        self._nodes = meter.create_histogram(f"{prefix}_graph_nodes", description="nodes of the graphs of runs")
        self._stuck = meter.create_up_down_counter(
            f"{prefix}_stuck_runs", description="runs that wait longer than they should, by what they wait for"
        )
        self._all = meter.create_counter(f"{prefix}_executions_total", description="runs that ended")
        self._all_errors = meter.create_counter(f"{prefix}_errors_total", description="runs that failed")

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        self._active[kind].add(1, {f"{kind}_name": name})
        if kind == "graph":
            self._nodes.record(nodes, {"graph_name": name})

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        told: dict[str, str | bool] = {f"{kind}_name": name, "success": success}
        self._active[kind].add(-1, {f"{kind}_name": name})
        self._executions[kind].add(1, told)
        self._durations[kind].record(seconds, told)
        self._all.add(1, {"success": success})
        if not success:
            self._errors[kind].add(1, {f"{kind}_name": name})
            self._all_errors.add(1)

    def runs_owned(self, kind: str, name: str, change: int) -> None:
        self._active[kind].add(change, {f"{kind}_name": name})

    def stuck(self, reason: str, change: int) -> None:
        self._stuck.add(change, {"reason": reason})
