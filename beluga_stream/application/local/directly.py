"""A sync handler called at once, in the thread of whoever asks: for chains that run in this process."""

import asyncio
import inspect
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ...domain.payload import Json
from ...errors import ExecutionFailed, InvalidInput
from ...ports.handlers import Handler, Parameter
from ..execution.context import Context, current
from ..execution.execution import cancelled, completed, failed
from ..execution.judging import first_of
from ..execution.threads import UNCARRIED
from ..execution.verdict import Completed, Failed


def attempted(handler: Handler, value: Json, context: Context) -> Completed | Failed | Handler:
    """What comes of a sync handler of one parameter: as `Executions.run` has it, and without limit.

    Where it gives something to await, a handler of no parameters is given: what is left to run, in the event loop.
    """
    token = current.set(context)
    try:
        given = handler.call(_argument(handler.parameters[0], value))
        if inspect.isawaitable(given):
            return replace(handler, call=lambda: given, parameters=(), executor="async")
        return completed(handler, given)
    except SystemExit as error:
        return failed(handler, ExecutionFailed(f"it called sys.exit({error.code!r})"), context)
    except UNCARRIED as error:  # as a call in a thread has them
        return failed(handler, RuntimeError(f"the handler raised {type(error).__name__}"), context)
    except asyncio.CancelledError as error:
        return cancelled(handler, error, context)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything; it becomes the node's failure
        return failed(handler, error, context)
    finally:
        current.reset(token)


def _argument(parameter: Parameter, value: Json) -> Any:
    try:
        return parameter.adapter.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"the value for {parameter.name!r} does not fit its type: {first_of(error)}") from error
