"""Events of a run's stream as JSON and back: what `--json` prints, and what the HTTP gateway sends."""

from collections.abc import Awaitable, Callable
from typing import Any

from ...domain.events import Failure
from ...domain.payload import NOTHING, Inline, Json, Payload
from ...errors import BelugaError, InvalidInput
from .results import Chunk, Event, NodeChanged, RunChanged, StartRejected, Superseded

Load = Callable[[Payload], Awaitable[Json]]
"""The value of a payload."""

_KINDS: dict[type[Event], str] = {
    Chunk: "chunk",
    Superseded: "superseded",
    NodeChanged: "node",
    RunChanged: "run",
    StartRejected: "rejected",
}


async def event_json(run: str, event: Event, load: Load, *, outputs: bool | str = False) -> dict[str, Any]:
    """An event for machines. A run's output is there once it has succeeded, a node's only with `outputs`: all or one's.

    An output that cannot be had (kept no longer, encrypted) is told in its place as `output_error`.
    """
    said: dict[str, Any] = {
        "type": kind_of(event),
        "run": run,
        "cursor": event.cursor,
        "at_ms": event.at_ms,
    }
    match event:
        case Chunk():
            said |= _execution(event) | {"seq": event.seq, "value": event.value}
        case Superseded():
            said |= _execution(event)
        case NodeChanged():
            said |= {"node": event.node, "status": event.status, "attempt": event.attempt}
            if event.failure is not None:
                said["error"] = failure_json(event.failure)
            if event.status == "succeeded" and outputs in (True, event.node):
                said |= await _output_json(event.output, load)
        case RunChanged():
            said["status"] = event.status
            if event.failure is not None:
                said["error"] = failure_json(event.failure)
            if event.digest is not None:
                said["digest"] = event.digest
            if event.status == "succeeded":
                said |= await _output_json(event.output, load)
        case StartRejected():
            said |= {"code": event.code, "message": event.message, "digest": event.digest}
        case _:
            pass
    return said


def event_of(tree: dict[str, Any]) -> Event:
    """The event that JSON says. Raises `InvalidInput` for what is none."""
    try:
        return _event_of(tree)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"this is no event of a run's stream ({error!r}): {str(tree)[:200]}") from error


def failure_json(failure: Failure) -> dict[str, Any]:
    """Why something failed, for machines. How long it asks to be left alone is there only when it does."""
    told = {"code": failure.code, "message": failure.message, "node": failure.node, "attempt": failure.attempt}
    return told | ({"retry_after_ms": failure.retry_after_ms} if failure.retry_after_ms else {})


def failure_of(told: dict[str, Any] | None) -> Failure | None:
    """The failure that JSON says, if it says one."""
    if told is None:
        return None
    asks_ms = told.get("retry_after_ms", 0)
    return Failure(told["code"], told["message"], told["node"], told["attempt"], asks_ms)


def kind_of(event: Event) -> str:
    """The name of an event's kind."""
    return _KINDS[type(event)]


def _event_of(tree: dict[str, Any]) -> Event:
    place = {"cursor": tree["cursor"], "at_ms": tree["at_ms"]}
    match tree["type"]:
        case "chunk":
            return Chunk(**place, **_execution_of(tree), seq=tree["seq"], value=tree["value"])
        case "superseded":
            return Superseded(**place, **_execution_of(tree))
        case "node":
            return NodeChanged(
                **place,
                node=tree["node"],
                status=tree["status"],
                attempt=tree["attempt"],
                output=_output_of(tree),
                failure=failure_of(tree.get("error")),
            )
        case "run":
            return RunChanged(
                **place,
                status=tree["status"],
                output=_output_of(tree),
                failure=failure_of(tree.get("error")),
                digest=tree.get("digest"),
            )
        case "rejected":
            return StartRejected(**place, code=tree["code"], message=tree["message"], digest=tree["digest"])
        case other:
            raise InvalidInput(f"{other!r} is no kind of event that this version knows")


def _execution(event: Chunk | Superseded) -> dict[str, Any]:
    return {"node": event.node, "attempt": event.attempt, "incarnation": event.incarnation}


def _execution_of(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: tree[name] for name in ("node", "attempt", "incarnation")}


async def _output_json(output: Payload | None, load: Load) -> dict[str, Any]:
    try:
        return {"output": await load(output or NOTHING)}
    except BelugaError as error:
        return {"output_error": {"code": error.code, "message": error.message}}


def _output_of(tree: dict[str, Any]) -> Payload | None:
    return Inline(tree["output"]) if "output" in tree else None
