"""Data of messages as JSON, and back, checked by type at both ends."""

from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from ..application.judging import first_of, said
from ..errors import (
    RETRYABLE_CODES,
    BelugaError,
    ExecutionFailed,
    InvalidInput,
    NotSerializable,
    RecordTooLarge,
)
from ..ports.bus import Parcel

T = TypeVar("T")

MOST_BYTES = 900_000
"""Of one message, so that any broker takes it as a record."""


def body_of(data: object, subject: str) -> bytes:
    """The data as JSON. Raises `NotSerializable` and `RecordTooLarge`."""
    try:
        body = to_json(data)
    except (PydanticSerializationError, ValueError) as error:
        raise NotSerializable(f"a message of {subject} cannot become JSON: {said(error)}", subject=subject) from error
    if len(body) > MOST_BYTES:
        raise RecordTooLarge(
            f"a message of {subject} has {len(body):,} bytes, and may have {MOST_BYTES:,}: send where its data is",
            subject=subject,
        )
    return body


def data_of(body: bytes, kind: type[T], what: str) -> T:
    """The data of this type. Raises `InvalidInput` that says what is wrong."""
    adapter: TypeAdapter[T] = TypeAdapter(kind)
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise InvalidInput(f"{what} fails its type: {first_of(error)}") from error


def failure_body(error: BelugaError) -> bytes:
    """What a reply tells of a failure."""
    return orjson.dumps(said(error))


def error_of(answer: Parcel, subject: str) -> ExecutionFailed:
    """The failure that a reply tells of."""
    message: Any = orjson.loads(answer.body)
    made = ExecutionFailed(f"the subscriber of {subject} failed: {message} ({answer.error})", subject=subject)
    made.retryable = answer.error in RETRYABLE_CODES
    return made
