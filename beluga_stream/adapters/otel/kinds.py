"""Kinds of spans, as OpenTelemetry has them."""

from collections.abc import Mapping

from opentelemetry.trace import SpanKind as OtelKind

from ...ports.spans import SpanKind

KINDS: Mapping[SpanKind, OtelKind] = {
    "internal": OtelKind.INTERNAL,
    "server": OtelKind.SERVER,
    "producer": OtelKind.PRODUCER,
    "consumer": OtelKind.CONSUMER,
}
