"""How a command ends: its exit code, and what is said on standard error.

0 ok, 1 failed, 2 wrong usage, input or configuration, 3 not found, 4 timed out, 5 no broker, 130 interrupted.
"""

import asyncio
import inspect
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn

import typer

from ..errors import (
    BelugaError,
    DependencyFailed,
    InvalidConfig,
    InvalidInput,
    LogUnavailable,
    NotFound,
    RunFailed,
    RunRejected,
    TimedOut,
)
from .output import OutputLost
from .plain import plain

FAILED = 1
WRONG = 2
NOT_FOUND = 3
TIMED_OUT = 4
NO_BROKER = 5
INTERRUPTED = 130

_BY_TYPE: tuple[tuple[type[BelugaError], int], ...] = (
    (InvalidConfig, WRONG),
    (InvalidInput, WRONG),
    (NotFound, NOT_FOUND),
    (TimedOut, TIMED_OUT),
    (LogUnavailable, NO_BROKER),
)
_BY_REASON = {kind.code: code for kind, code in _BY_TYPE}
_NOISY = ("faust", "mode", "aiokafka", "asyncio", "beluga_stream")
_STOPPING = (signal.SIGTERM, signal.SIGHUP)


def code_of(error: BelugaError) -> int:
    """The exit code that an error means."""
    if isinstance(error, RunRejected):
        return _BY_REASON.get(error.reason, FAILED)
    return next((code for kind, code in _BY_TYPE if isinstance(error, kind)), FAILED)


def perform(
    work: Coroutine[Any, Any, None],
    *,
    as_json: bool = False,
    when_stopped: int = INTERRUPTED,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run a command's work. What goes wrong is one line on standard error and an exit code.

    `when_stopped` is the code after Ctrl-C; `new_loop` makes another event loop than asyncio's own.
    A traceback is shown only with BELUGA_DEBUG=1.
    """
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop()
            runner.run(_stoppable(work))
        if sys.stdout is not None:
            sys.stdout.flush()  # here it can be told what was lost
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(when_stopped) from None
    except Exception as error:
        match _first(error):
            case OutputLost() as lost:
                end_unheard(lost, as_json=as_json)
            case BelugaError() as known:
                fail(known, as_json=as_json)
        if _wants_traceback():
            raise
        told = f"a defect of beluga, {type(error).__name__}: {error}. BELUGA_DEBUG=1 shows where"
        say_error(told, "internal", as_json=as_json, exit_code=FAILED)
        raise typer.Exit(FAILED) from None
    finally:
        if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
            work.close()  # there was no loop to run it


def _first(error: Exception) -> Exception:
    """Of errors of tasks that belong together the first, when a line can tell each; else the error itself."""
    if not isinstance(error, ExceptionGroup) or error.split((BelugaError, OutputLost))[1] is not None:
        return error
    return _first(error.exceptions[0])


def fail(error: BelugaError, *, as_json: bool = False) -> NoReturn:
    """Say what is wrong and end the command."""
    if _wants_traceback():
        raise error
    code = code_of(error)
    reason = error.reason if isinstance(error, RunRejected | RunFailed) else None
    say_error(error.message, error.code, as_json=as_json, exit_code=code, ids=error.ids, reason=reason)
    raise typer.Exit(code) from None


def end_unheard(lost: OutputLost, *, as_json: bool) -> NoReturn:
    """End the command whose output is lost: that is no failure when whoever read it has seen enough."""
    if lost.is_read:
        say_error(str(lost), DependencyFailed.code, as_json=as_json, exit_code=FAILED)
    raise typer.Exit(FAILED if lost.is_read else 0) from None


def say_error(
    message: str,
    code: str,
    *,
    as_json: bool,
    exit_code: int,
    ids: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> None:
    """One line in red, or one JSON document, on standard error. Where that is lost the exit code is left to tell."""
    try:
        if as_json:
            said = {"code": code, "message": message, "ids": dict(ids or {}), "exit_code": exit_code}
            typer.echo(json.dumps({"error": said if reason is None else said | {"reason": reason}}), err=True)
        else:
            line = f"beluga: {plain(' '.join(message.split()))}"
            typer.echo(line if os.environ.get("NO_COLOR") else typer.style(line, fg=typer.colors.RED), err=True)
    except OSError:
        # Python tries again when it ends, and has a code of its own for that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def configure_noise(*, verbose: bool) -> None:
    """Keep what the libraries log out of the terminal, unless somebody asked for it."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        return
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


def _wants_traceback() -> bool:
    return os.environ.get("BELUGA_DEBUG") == "1"


async def _stoppable(work: Coroutine[Any, Any, None]) -> None:
    """Being told to stop ends the work as Ctrl-C does, so that what it has started is stopped."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for told in _STOPPING:
        loop.add_signal_handler(told, task.cancel)
    try:
        await work
    finally:
        for told in _STOPPING:
            loop.remove_signal_handler(told)
