"""A receiver of OTLP over HTTP: it keeps what processes export, for tests to look at."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_PATIENCE_SECONDS = 40.0


class ReceivedSpan(NamedTuple):
    """One span, ids in hexadecimal digits, times in nanoseconds."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, object]
    links: tuple[tuple[str, str], ...]
    failed: bool
    began: int
    ended: int


class Receiver:
    """What has come so far."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.metrics: set[str] = set()
        self.endpoint = ""

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self.spans.extend(_span(str(service), span) for span in scope.spans)
        elif path == "/v1/metrics":
            measured = ExportMetricsServiceRequest.FromString(body)
            self.metrics.update(
                metric.name
                for each in measured.resource_metrics
                for scope in each.scope_metrics
                for metric in scope.metrics
            )

    def wait(self, until: Callable[[Sequence[ReceivedSpan]], bool]) -> list[ReceivedSpan]:
        """The spans, once this holds of them."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        came = threading.Event()
        while not until(list(self.spans)):
            if time.monotonic() > deadline:
                found = "\n".join(f"{span.service} {span.name} {span.attributes}" for span in self.spans)
                raise AssertionError(f"not all spans came within {_PATIENCE_SECONDS:g} s:\n{found}")
            came.wait(0.1)
        return list(self.spans)


def _span(service: str, span: object) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.name,  # type: ignore[attr-defined]
        span.trace_id.hex(),  # type: ignore[attr-defined]
        span.span_id.hex(),  # type: ignore[attr-defined]
        span.parent_span_id.hex(),  # type: ignore[attr-defined]
        _attributes(span.attributes),  # type: ignore[attr-defined]
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),  # type: ignore[attr-defined]
        span.status.code == 2,  # type: ignore[attr-defined]
        span.start_time_unix_nano,  # type: ignore[attr-defined]
        span.end_time_unix_nano,  # type: ignore[attr-defined]
    )


def _attributes(pairs: object) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}  # type: ignore[attr-defined]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
