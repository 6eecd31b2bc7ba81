"""What ingest and the gatherer have in common: they call users' functions, and request runs."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from ...domain.events import RunRequested
from ...domain.ids import run_id
from ...errors import BelugaError, ExecutionFailed
from ...ports.handlers import Program
from ...ports.log import Outgoing
from .. import codec, tracing
from ..execution.conversion import input_json
from ..execution.judging import first_of, in_words, said
from ..execution.places import told_place
from ..payloads import Payloads
from ..topics import Topics


def called(trigger: str, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a user's function; whatever it raises is the event's fault or the function's, and never ours."""
    try:
        return function(*arguments, **named)
    except KeyboardInterrupt:
        raise  # somebody ends the process
    except BaseException as error:  # also what would end the process, and each after it that reads the event
        told = first_of(error) if isinstance(error, ValidationError) else said(error)
        place = told_place(error.__traceback__)
        message = f"{what} of trigger {trigger} raised {in_words(error, told)}{place}"
        raise ExecutionFailed(message, trigger=trigger) from error


def key_text(key: object) -> str:
    """A user's key as text that an id can be made of.

    Raises `UnicodeEncodeError` when none can, and `TypeError` for None: events without a key have nothing in common.
    """
    if key is None:
        raise TypeError("it gave None, which is no key")
    text = str(key)
    text.encode()
    return text


def identity_text(key: object) -> str:
    """A user's idempotency key. Raises as `key_text`, and `ValueError` for an empty one: all such events were one."""
    text = key_text(key)
    if not text:
        raise ValueError("it gave an empty text, which is no key")
    return text


class Requests:
    """Makes requests for runs."""

    def __init__(self, topics: Topics, payloads: Payloads) -> None:
        self._topic = topics.run_requests
        self._payloads = payloads

    async def start(
        self, program: Program, trigger: str, identity: str, value: Any, trace: str | None, now_ms: int
    ) -> Outgoing:
        """The request for the run that this identity starts. Raises `ExecutionFailed` for a value that is no input."""
        definition = program.definition
        try:
            json = input_json(program, value)
        except BelugaError as error:
            raise ExecutionFailed(f"trigger {trigger}: {error}", trigger=trigger) from error
        run = run_id(definition.name, trigger, identity)
        request = RunRequested(
            run=run,
            key=str(run),
            at_ms=now_ms,
            graph=definition.name,
            definition=definition.hash,
            input=await self._payloads.store(str(run), json),
            digest=self._payloads.digest(json),
            trigger=trigger,
            trace=trace,
        )
        value = codec.incoming.encode(request)
        return Outgoing(self._topic, str(run).encode(), value, tracing.headers_of(trace))
