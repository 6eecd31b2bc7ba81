"""Log lines: text for people, JSON for machines; both with `action` and the ids that a record carries."""

import logging
from datetime import UTC, datetime

import orjson

from .settings import Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_CHATTY = ("aiokafka", "asyncio", "faust", "mode")
"""`faust worker -l warn`, its default, sets the root logger to DEBUG (for its spinner). Then these would make
several records for every request to the broker, a tenth of a busy coordinator's time, for nobody to see."""


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class _EngineLines(logging.Filter):
    """Leaves out Faust's own lines about each service that starts and stops."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def configure_logs(settings: Settings) -> None:
    """Send the engine's lines to standard error. Called by processes, never by the library."""
    for name in _CHATTY:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)
    logger = logging.getLogger("beluga_stream")
    logger.setLevel(settings.log_level)
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    handler.addFilter(_EngineLines())
    logger.addHandler(handler)
    logger.propagate = False
