"""The SDK's core in this process: one runtime for all our clients, whose lines are log records like any."""

import ctypes
import logging
from functools import cache

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

log = logging.getLogger("beluga_stream.temporal")

_FILTER = TelemetryFilter(core_level="WARN", other_level="ERROR")
"""As the SDK has it: what it says below that is of its own work."""


@cache
def runtime() -> Runtime:
    """The SDK's threads, which end with the process, not when the interpreter forgets them.

    To be forgotten, they would have to end first, but one that has an answer to deliver waits for the interpreter,
    which waits for them: a process that had done its work would often hang at its exit. A client that a user makes has
    the SDK's own runtime, and what the user wants of it.
    """
    log.addFilter(_Named())
    forwarding = LogForwardingConfig(
        log, append_target_to_name=False, prepend_target_on_message=False, append_log_fields_to_message=False
    )
    made = Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(_FILTER, forwarding)))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    return made


class _Named(logging.Filter):
    """Gives records of the core an `action`, and the fields of the object that they came as in their text."""

    def filter(self, record: logging.LogRecord) -> bool:
        came = vars(record).pop("temporal_log", None)
        if came is not None:
            record.action = "temporal"
            record.msg = f"{record.getMessage()} {came.fields}"
        return True
