"""Exporters never hold the engine up: what they cannot take is lost, told once, and the end has a bound."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id

from beluga_stream.adapters.otel.exporting import Exports
from beluga_stream.bootstrap.logs import JsonLines
from beluga_stream.bootstrap.observing import Standing, observing
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidConfig


class Spans(SpanExporter):
    """Takes spans, refuses them, or takes for ever."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.fails = False
        self.raises = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.tried = threading.Semaphore(0)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.tried.release()
        self.hangs.wait(30)
        if self.raises:
            raise ValueError("what an exporter should not do")
        if self.fails:
            return SpanExportResult.FAILURE
        self.took.extend(span.name for span in spans)
        return SpanExportResult.SUCCESS


class Metrics(MetricExporter):
    """Takes metrics, or refuses them."""

    def __init__(self, result: MetricExportResult = MetricExportResult.SUCCESS) -> None:
        super().__init__()
        self.took: list[MetricsData] = []
        self._result = result

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.took.append(metrics_data)
        return self._result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


@contextmanager
def exports(spans: Spans, seconds: float = 5.0) -> Iterator[Exports]:
    found = Exports("test", spans=spans)
    try:
        yield found
    finally:
        found.close(seconds)


def one(of: Exports, name: str) -> None:
    assert of.tracers is not None
    of.tracers.get_tracer("test").start_span(name).end()


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


def test_what_waits_is_sent_at_the_end() -> None:
    spans, metrics = Spans(), Metrics()
    of = Exports("test", spans=spans, metrics=metrics)
    one(of, "last")
    of.meters.get_meter("test").create_counter("counted").add(1)
    of.close()
    assert spans.took == ["last"]
    (data,) = metrics.took
    told = data.resource_metrics[0].resource.attributes
    assert (told["service.name"], str(told["service.instance.id"]).rpartition(":")[2]) == ("test", str(os.getpid()))


def test_an_exporter_that_refuses_is_told_of_once_and_once_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    spans = Spans()
    spans.fails = True
    with exports(spans) as of:
        for name in ("a", "b"):
            one(of, name)
            assert spans.tried.acquire(timeout=5)
        spans.fails, spans.raises = False, True
        one(of, "c")
        assert spans.tried.acquire(timeout=5)
        spans.raises = False
        one(of, "d")
        assert spans.tried.acquire(timeout=5)
    assert spans.took == ["d"]
    assert actions(caplog) == ["telemetry.away", "telemetry.back"]


def test_metrics_that_cannot_be_exported_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    of = Exports("test", metrics=Metrics(MetricExportResult.FAILURE))
    of.meters.get_meter("test").create_counter("counted").add(1)
    of.close()
    assert actions(caplog) == ["telemetry.away"]


def test_an_exporter_that_never_answers_holds_neither_work_nor_end_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    spans = Spans()
    spans.hangs.clear()
    with exports(spans, seconds=0.1) as of:
        for number in range(1_000):
            one(of, str(number))
        assert of.tracers is not None
        processor: Any = of.tracers._active_span_processor._span_processors[0]  # type: ignore[attr-defined]
        assert len(processor._batch_processor._queue) <= 8, "what waits has a bound"
    assert actions(caplog)[-1] == "telemetry.lost"
    spans.hangs.set()
    processor._batch_processor._worker_thread.join(5)


def test_metrics_and_traces_that_nobody_takes_at_the_end_have_one_bound_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spans = Spans()
    spans.hangs.clear()

    class Hanging(Metrics):
        def export(self, *_: Any, **__: Any) -> MetricExportResult:
            spans.hangs.wait(30)
            return MetricExportResult.SUCCESS

    waited: list[float] = []
    ends: list[threading.Thread] = []

    class Ending(threading.Thread):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            ends.append(self)

        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None
            waited.append(timeout)
            super().join(timeout)

    of = Exports("test", spans=spans, metrics=Hanging(), readers=[InMemoryMetricReader()])
    of.meters.get_meter("test").create_counter("counted").add(1)
    one(of, "last")
    monkeypatch.setattr("beluga_stream.adapters.otel.exporting.threading", SimpleNamespace(Thread=Ending))
    of.close(seconds=0.2)
    spans.hangs.set()
    for thread in ends:
        threading.Thread.join(thread, 10)
    first, second = waited
    assert first + second < 2 * 0.2, "the second has what the first has left"
    assert [(record.levelname, action) for record, action in zip(caplog.records, actions(caplog), strict=True)] == [
        ("WARNING", "telemetry.lost")
    ]


def test_nothing_leaves_a_process_unless_it_is_asked_for() -> None:
    before = threading.active_count()
    with observing(Settings(), "test") as observed:
        assert not observed.spans.on
        assert observed.exposition is None
        assert threading.active_count() == before


def test_the_sdk_can_be_turned_off_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with observing(Settings(telemetry=("otlp",)), "test") as observed:
        assert not observed.spans.on


@pytest.mark.parametrize(
    ("protocol", "told"),
    [("http/json", "it must be http/protobuf or grpc"), ("grpc", "needs the exporter otlp_proto_grpc: pip install")],
)
def test_a_protocol_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, protocol: str, told: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with pytest.raises(InvalidConfig, match=told), observing(Settings(telemetry=("otlp",)), "test"):
        pass


def test_either_signal_can_be_left_out_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beluga_stream.bootstrap.observing._set_global", lambda exports: None)  # it would stay so
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    with observing(Settings(telemetry=("otlp",)), "test") as observed:
        assert not observed.spans.on
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    before = set(threading.enumerate())  # those of other tests may still be about to end
    with observing(Settings(telemetry=("otlp",)), "test") as observed:
        assert observed.spans.on
        begun = set(threading.enumerate()) - before
        assert not any(thread.name == "OtelPeriodicExportingMetricReader" for thread in begun)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "console")
    with (
        pytest.raises(
            InvalidConfig, match="OTEL_METRICS_EXPORTER=console: with BELUGA_TELEMETRY=otlp it must be otlp or none"
        ),
        observing(Settings(telemetry=("otlp",)), "test"),
    ):
        pass


async def test_metrics_for_prometheus_need_an_address() -> None:
    with pytest.raises(InvalidConfig, match="BELUGA_PROBE_ADDRESS"):
        async with Standing(Settings(telemetry=("prometheus",)), "test").open():
            pass


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidConfig, match="BELUGA_TELEMETRY"):
        Settings.load(telemetry="zipkin")
    with pytest.raises(InvalidConfig, match="BELUGA_PROBE_ADDRESS"):
        Settings.load(probe_address="here")


def test_lines_carry_the_trace_and_span_they_are_written_in() -> None:
    line = logging.makeLogRecord({"msg": "hello", "action": "greet", "run": "r"})
    of = Exports("test", spans=Spans())
    assert of.tracers is not None
    with of.tracers.get_tracer("test").start_as_current_span("around") as span:
        told = orjson.loads(JsonLines().format(line))
    of.close()
    context = span.get_span_context()
    assert (told["trace_id"], told["span_id"]) == (format_trace_id(context.trace_id), format_span_id(context.span_id))
    assert (told["action"], told["run"]) == ("greet", "r")
    assert "trace_id" not in orjson.loads(JsonLines().format(line)), "outside of a span there is none"
