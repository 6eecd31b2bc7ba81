"""The port `Traces` by OpenTelemetry's propagators, W3C Trace Context unless the environment names others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, propagate


class OtelTraces:
    """See the module."""

    def told(self) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers

    @contextmanager
    def inside(self, headers: Mapping[str, str]) -> Iterator[None]:
        token = context.attach(propagate.extract(headers))
        try:
            yield
        finally:
            context.detach(token)
