"""Traces and metrics of a process, by its settings: exporters and what shows metrics to Prometheus.

Off by default: then nothing of OpenTelemetry's SDK is loaded, and nothing waits in memory.
"""

# ruff: noqa: PLC0415 - most processes load neither the SDK nor exporters, which takes a while

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import metrics, trace

from ..adapters.otel.spans import OtelSpans
from ..adapters.otel.telemetry import OtelTelemetry
from ..application.health import Check, Health, RoleHealth
from ..errors import InvalidConfig
from ..ports.spans import NO_SPANS, Spans
from ..ports.telemetry import NO_TELEMETRY, Telemetry
from .settings import Settings

if TYPE_CHECKING:
    from ..adapters.otel.exporting import Exports
    from ..adapters.otel.histograms import KeptHistograms

_SCOPE = "beluga_stream"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_NEEDS = "pip install 'beluga-stream[observability]'"


class Observed(NamedTuple):
    """What a process counts and traces with. `exposition` gives its metrics in Prometheus' text format."""

    telemetry: Telemetry
    spans: Spans
    exposition: Callable[[], bytes] | None = None


@contextmanager
def observing(settings: Settings, service: str) -> Iterator[Observed]:
    """Open what the settings ask for, and close it within a bound. Raises `InvalidConfig`.

    `service` is the service's name unless OTEL_SERVICE_NAME gives one. The providers are global, so that what handlers
    trace and count goes where the engine's own goes. When the settings ask for nothing and something else has set
    providers (`opentelemetry-instrument`), those are used.
    """
    wanted = settings.telemetry
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Observed(OtelTelemetry(), global_spans())
        return
    from ..adapters.otel.exporting import Exports, kept_histograms
    from ..adapters.otel.gathered import GatheredTelemetry

    spans, measured = _otlp() if "otlp" in wanted else (None, None)
    histograms = kept_histograms(measured)
    reader, exposition = _prometheus(histograms) if "prometheus" in wanted else (None, None)
    readers = [] if reader is None else [reader]
    exports = Exports(service, spans=spans, metrics=measured, readers=readers, histograms=histograms)
    try:
        _set_global(exports)
        tracers = exports.tracers
        telemetry = OtelTelemetry(exports.meters.get_meter(_SCOPE), alone=True, histograms=histograms)
        telemetry.watch_lost_spans(exports.lost_spans)
        gathered = GatheredTelemetry(telemetry)
        try:
            yield Observed(
                gathered,
                NO_SPANS if tracers is None else OtelSpans(tracers.get_tracer(_SCOPE), tracers),
                exposition,
            )
        finally:
            gathered.count()
    finally:
        exports.close()


def _set_global(exports: "Exports") -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        metrics.set_meter_provider(exports.meters)
    if exports.tracers is not None and not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(exports.tracers)


def global_spans() -> Spans:
    """Those of the provider that somebody else has set for this process, if anybody has."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return NO_SPANS
    return spans_of(provider.get_tracer(_SCOPE))


def spans_of(tracer: trace.Tracer) -> Spans:
    """Those of a tracer, which gives spans the ids that processes agree on."""
    made: Any = tracer
    if hasattr(made, "id_generator"):  # the SDK's have one
        from ..adapters.otel.ids import AgreedIds

        if not isinstance(made.id_generator, AgreedIds):
            made.id_generator = AgreedIds(made.id_generator)
    return OtelSpans(tracer)


def _prometheus(histograms: "KeptHistograms | None") -> tuple[Any, Callable[[], bytes]]:
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise InvalidConfig(f"BELUGA_TELEMETRY=prometheus needs its exporter: {_NEEDS}") from error
    registry = CollectorRegistry()
    made: Any = PrometheusMetricReader if histograms is None else histograms.read_by(PrometheusMetricReader)
    reader = made(registry=registry, scope_info_enabled=False)
    return reader, lambda: generate_latest(registry)


def _otlp() -> tuple[Any, Any]:
    """The exporters of traces and of metrics; None for which OpenTelemetry's variables want none."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol not in _PROTOCOLS:
        raise InvalidConfig(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: it must be {' or '.join(_PROTOCOLS)}")
    name = _PROTOCOLS[protocol]
    return _exporter("traces", name), _exporter("metrics", name)


def _exporter(signal: str, name: str) -> Any:
    """As OpenTelemetry finds exporters: by entry points of the installed packages."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    chosen = os.environ.get(variable, "").strip().lower() or "otlp"
    if chosen == "none":
        return None
    if chosen != "otlp":
        raise InvalidConfig(f"{variable}={chosen}: with BELUGA_TELEMETRY=otlp it must be otlp or none")
    group = f"opentelemetry_{signal}_exporter"
    for found in entry_points(group=group, name=name):
        try:
            return found.load()()
        except ImportError as error:
            raise InvalidConfig(f"the exporter {name} cannot be loaded: {error}") from error
    raise InvalidConfig(f"BELUGA_TELEMETRY=otlp needs the exporter {name}: {_NEEDS}")


class Standing:
    """How a process stands, for those who ask it over HTTP, and what it counts and traces with."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.observed = Observed(NO_TELEMETRY, NO_SPANS)
        self.health: Health | None = None
        self.port: int | None = None
        self._settings = settings
        self._service = service

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """For as long as the process is. Raises `InvalidConfig`."""
        self.health = health = Health()
        address = self._settings.probe_address
        if "prometheus" in self._settings.telemetry and address is None:
            raise InvalidConfig("BELUGA_TELEMETRY=prometheus needs BELUGA_PROBE_ADDRESS, where metrics are shown")
        with observing(self._settings, self._service) as self.observed:
            if address is None:
                yield
                return
            from ..adapters.probing.server import probe

            async with probe(address, health, self.observed.exposition) as self.port:
                yield

    def watch(self, roles: Callable[[], Mapping[str, RoleHealth]], dependencies: Mapping[str, Check]) -> None:
        """These are the roles that run here, and what they depend on."""
        if self.health is not None:
            self.health.roles = roles
            self.health.dependencies = dict(dependencies)
