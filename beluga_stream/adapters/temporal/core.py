"""The SDK's core in this process: one runtime for all our clients, whose lines are log records like any."""

import atexit
import ctypes
import logging
import threading
import time
from functools import cache
from pathlib import Path

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

log = logging.getLogger("beluga_stream.temporal")

_FILTER = TelemetryFilter(core_level="WARN", other_level="ERROR")
"""As the SDK has it: what it says below that is of its own work."""

_THREADS = Path("/proc/self/task")
_LOOK_SECONDS = 0.01
_LOOKS_AT_REST = 3
_REST_SECONDS = 2.0
"""How long a program's end waits for the core's threads, at most."""


@cache
def runtime() -> Runtime:
    """The SDK's threads, which end with the process, not when the interpreter forgets them.

    To be forgotten, they would have to end first, but one that has an answer to deliver waits for the interpreter,
    which waits for them: a process that had done its work would often hang at its exit. Nor may one deliver an answer
    to an interpreter that is ending, which crashes the process (temporalio/sdk-python, issue 300): hence `_rest`. A
    client that a user makes has the SDK's own runtime, and what the user wants of it.
    """
    log.addFilter(_Named())
    forwarding = LogForwardingConfig(
        log, append_target_to_name=False, prepend_target_on_message=False, append_log_fields_to_message=False
    )
    made = Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(_FILTER, forwarding)))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    atexit.register(_rest)
    return made


def _rest() -> None:
    """Wait until the core's threads have nothing to do: the calls that the program has left are answered, or dropped.

    Nothing tells which calls those are, but the system tells which threads run.
    """
    latest = time.monotonic() + _REST_SECONDS
    at_rest = 0
    while at_rest < _LOOKS_AT_REST and time.monotonic() < latest:
        time.sleep(_LOOK_SECONDS)  # without the interpreter, which they need
        at_rest = 0 if _others_run() else at_rest + 1


def _others_run() -> bool:
    """Whether a thread besides this one runs, or would if it had a core; where Linux is not, none is said to."""
    this = str(threading.get_native_id())
    for thread in _THREADS.glob("*/stat"):
        try:
            state = thread.read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended since it was listed
        if state == "R" and thread.parent.name != this:
            return True
    return False


class _Named(logging.Filter):
    """Gives records of the core an `action`, and the fields of the object that they came as in their text."""

    def filter(self, record: logging.LogRecord) -> bool:
        came = vars(record).pop("temporal_log", None)
        if came is not None:
            record.action = "temporal"
            record.msg, record.args = f"{record.getMessage()} {came.fields}", ()
        return True
