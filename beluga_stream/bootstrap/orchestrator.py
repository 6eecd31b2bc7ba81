"""`Orchestrator`, wired: engines, metrics and spans by what it is given."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from opentelemetry import metrics, trace

from ..adapters.otel.telemetry import OtelTelemetry
from ..api.features import Defaults, Features
from ..api.here import LocalProvider
from ..api.orchestrator import Orchestration
from ..api.provider import Provider, ProviderFactory, Providers
from ..api.running import Running
from ..application.execution.middleware import Middleware
from ..errors import InvalidConfig
from ..ports.spans import NO_SPANS
from .bus import kafka_bus, local_bus
from .observing import spans_of
from .settings import Settings

_PREFIX = re.compile(r"[a-zA-Z][-_./a-zA-Z0-9]{0,199}")

_FEATURES = Features()
_DEFAULTS = Defaults()


class Orchestrator(Orchestration):
    """Makes chains, graphs and workflows that share engines, defaults, bounds and metrics. Use it with `async with`.

    `settings` are those of the engines `kafka`, `temporal` and `dbos` (default: the environment's). `chains`, `graphs`
    and `workflows` are defaults of what it makes. `meter` and `tracer` are OpenTelemetry's: without a meter the global
    one counts, without a tracer nothing is traced. Metrics are named `{metrics_prefix}_chain_executions_total` and so
    on.
    `providers` adds engines by name, beside `local`, `kafka`, `temporal`, `dbos` and those of the entry point group
    `beluga_stream.providers`.
    `middleware` stands around each execution of a step or node here, the first outermost: see `Middleware`.
    `bus` says where its message bus is: in this process, or on the Kafka of the settings.
    Belongs to one event loop. Raises `InvalidConfig` for options out of range.
    """

    def __init__(  # noqa: PLR0913 - options, each given by its name
        self,
        settings: Settings | None = None,
        *,
        features: Features = _FEATURES,
        chains: Defaults = _DEFAULTS,
        graphs: Defaults = _DEFAULTS,
        workflows: Defaults = _DEFAULTS,
        logger: logging.Logger | None = None,
        meter: metrics.Meter | None = None,
        tracer: trace.Tracer | None = None,
        metrics_prefix: str = "beluga_orchestration",
        providers: Mapping[str, ProviderFactory] | None = None,
        middleware: Sequence[Middleware] = (),
        bus: Literal["local", "kafka"] = "local",
    ) -> None:
        if not _PREFIX.fullmatch(metrics_prefix):
            raise InvalidConfig(
                f"metrics_prefix={metrics_prefix!r}: OpenTelemetry's names begin with a letter of ASCII, and have such "
                f"letters, digits, '_', '-', '.' and '/' after it: give 200 at most"
            )
        if callable(middleware) or not all(map(callable, middleware)):
            raise InvalidConfig(f"middleware={middleware!r}: give a list of async functions, as [audit]")
        if bus not in ("local", "kafka"):
            raise InvalidConfig(f"bus={bus!r}: give 'local' or 'kafka'")
        spans = NO_SPANS if tracer is None else spans_of(tracer)

        def kafka() -> Provider:
            from .kafka import KafkaProvider  # noqa: PLC0415 - only who asks for it loads the broker's client

            return KafkaProvider(settings or Settings.load(), spans)

        def temporal() -> Provider:
            from .temporal_provider import TemporalProvider  # noqa: PLC0415 - its package is an optional extra

            return TemporalProvider(settings or Settings.load(), spans)

        def dbos() -> Provider:
            from .dbos_provider import DbosProvider  # noqa: PLC0415 - its package is an optional extra

            return DbosProvider(settings or Settings.load(), spans)

        built_in: Mapping[str, ProviderFactory] = {
            "local": lambda: LocalProvider(spans, tuple(middleware)),
            "kafka": kafka,
            "temporal": temporal,
            "dbos": dbos,
        }
        running = Running(
            Providers(providers or {}, built_in),
            OtelTelemetry(meter, prefix=metrics_prefix),
            spans,
            logger or logging.getLogger("beluga_stream.orchestrator"),
        )
        super().__init__(
            running,
            features,
            chains,
            graphs,
            workflows,
            make_bus=lambda: local_bus(spans=spans) if bus == "local" else kafka_bus(settings=settings, spans=spans),
            has_middleware=bool(middleware),
        )
