"""Log lines: text for people, JSON for machines; both with `action` and the ids that a record carries."""

import logging
import time
from collections import Counter
from datetime import UTC, datetime

import orjson
from opentelemetry import trace

from .settings import Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "extra"}
"""The last is an empty text that a filter of Faust's adds to each record."""

_CHATTY = ("aiokafka", "asyncio", "faust", "mode")
"""`faust worker -l warn`, its default, sets the root logger to DEBUG (for its spinner). Then these would make
several records for every request to the broker, a tenth of a busy coordinator's time, for nobody to see."""

_REPEATING = ("beluga_stream.temporal", "beluga_stream.adapters.kafka.fetcher", "beluga_stream.worker.parking")
"""While Temporal is away, every poll of its SDK says so; while a broker is away, every fetch of every consumer does;
while a deployment lacks a node, every run that meets it."""

_WARNING = ("aiokafka", "uvicorn")
"""Their warnings are shown, the same one seldom: aiokafka repeats that a broker is away, uvicorn that a caller sends no
HTTP."""

_SELDOM_SECONDS = 30.0
_KINDS_KEPT = 1_000
_ABOUT = ("topic", "partition", "code")


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(trace_ids())
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def trace_ids() -> dict[str, str]:
    """The trace and the span that a line is written in, by OpenTelemetry's names for them in logs."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


class _EngineLines(logging.Filter):
    """Leaves out Faust's own lines about each service that starts and stops."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


class Seldom(logging.Filter):
    """Lets a line that is like an earlier one through once in half a minute, and says how many it kept back.

    Without a broker aiokafka says so two hundred times a second. Lines of two partitions are not alike, nor are those
    of the code of two nodes. With `loggers` it looks at lines of these only, and of those below them: for a handler
    that others use as well.
    """

    def __init__(self, *loggers: str) -> None:
        super().__init__()
        self._loggers = tuple(logging.Filter(name) for name in loggers)
        self._last: dict[tuple[object, ...], float] = {}
        self._kept_back: Counter[tuple[object, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if self._loggers and not any(logger.filter(record) for logger in self._loggers):
            return True
        kind = (record.name, str(record.msg), *(getattr(record, field, None) for field in _ABOUT))
        now = time.monotonic()
        if now - self._last.get(kind, -_SELDOM_SECONDS) < _SELDOM_SECONDS:
            self._kept_back[kind] += 1
            return False
        if len(self._last) > _KINDS_KEPT:
            self._last.clear()
            self._kept_back.clear()
        self._last[kind] = now
        kept_back = self._kept_back.pop(kind, 0)
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} times since this was said last)", ()
        return True


def configure_logs(settings: Settings) -> None:
    """Send the engine's lines to standard error, and what its libraries warn of. Only processes call it."""
    for name in _CHATTY:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)
    logger = logging.getLogger("beluga_stream")
    logger.setLevel(settings.log_level)
    if any(not isinstance(each, logging.NullHandler) for each in logger.handlers):
        return  # a command that is no process keeps quiet by one that says nothing
    _say(logger, settings, _EngineLines())
    for name in _REPEATING:
        logging.getLogger(name).addFilter(Seldom())
    for name in _WARNING:
        logger = logging.getLogger(name)
        _say(logger, settings, Seldom())
        logger.handlers[-1].setLevel(logging.WARNING)


def root_handlers(settings: Settings) -> list[logging.Handler]:
    """For the lines of everybody else, nodes among them, when machines read them; people get Faust's own."""
    return [_handler(settings)] if settings.log_format == "json" else []


def _handler(settings: Settings) -> logging.Handler:
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    return handler


def _say(logger: logging.Logger, settings: Settings, what: logging.Filter) -> None:
    handler = _handler(settings)
    handler.addFilter(what)
    logger.addHandler(handler)
    logger.propagate = False
