"""What happens in a child process: it prepares itself, takes calls, and ends when its parent does."""

import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, parent_process
from typing import Any

from ...application.execution.context import current
from ...application.execution.judging import PLACE, said
from ...application.execution.places import told_place
from ...errors import ExecutionFailed, NotSerializable

INTERRUPT = signal.SIGUSR1
"""Tells a child that its call is over: the function is interrupted as by Ctrl-C, so that it can clean up."""

_ORPHAN_CODE = 71
_calling = False


def prepare(further: Callable[[], None]) -> None:
    """Runs first in each child: what stops the whole group is the parent's to answer, and nobody outlives it.

    By functions, since what is ignored would be ignored by a handler's own children too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(INTERRUPT, _interrupt)
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()
    further()


def answer(function: Callable[[], Any]) -> bytes:
    """What the function gives or raises, as bytes for the parent: (value, None) or (None, error)."""
    global _calling  # noqa: PLW0603 - a process has one call at a time, and a signal interrupts none but that
    try:
        _calling = True
        value = function()
        _calling = False
    except BaseException as error:  # noqa: BLE001 - a user's function may raise anything; it is handed over
        _calling = False
        return _pickled_error(error)
    try:
        return pickle.dumps((value, None))
    except Exception as error:  # noqa: BLE001 - as above
        told = f"it returned what cannot leave its process: {type(error).__name__}: {said(error)}"
        return _pickled_error(NotSerializable(told))


def _pickled_error(error: BaseException) -> bytes:
    place = told_place(error.__traceback__)
    try:
        setattr(error, PLACE, place)
        data = pickle.dumps((None, error))
        pickle.loads(data)  # noqa: S301 - our own bytes: an error that can be written need not be readable
    except Exception:  # noqa: BLE001 - as above
        replaced = _Unportable(f"raised {type(error).__name__}: {said(error)}{place}")
        return pickle.dumps((None, replaced))
    return data


class _Unportable(ExecutionFailed):
    """Stands for an exception that cannot be pickled."""

    retryable = True


def _interrupt(*_: object) -> None:
    if not _calling:
        return
    here = current.get()
    if here is not None:
        here.cancelled = True
    raise KeyboardInterrupt


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(_ORPHAN_CODE)
