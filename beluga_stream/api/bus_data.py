"""Data of messages as JSON, and back, checked by type at both ends."""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import PydanticSerializationError, to_json

from ..application.execution.judging import first_of, said
from ..errors import (
    RETRYABLE_CODES,
    BelugaError,
    ExecutionFailed,
    InvalidConfig,
    InvalidInput,
    NotSerializable,
    RecordTooLarge,
)
from ..ports.bus import Parcel
from .adapter import holds_secret, readable_again

T = TypeVar("T")

MOST_BYTES = 900_000
"""Of one message with its key and headers, so that any broker takes it as a record."""


def body_of(data: object, key: str, headers: Mapping[str, str], subject: str) -> bytes:
    """The data as JSON. Raises `NotSerializable`, `RecordTooLarge`, and `InvalidInput` for a key that is no text."""
    try:
        body = to_json(data)
    except (PydanticSerializationError, ValueError) as error:
        raise NotSerializable(f"a message of {subject} cannot become JSON: {said(error)}", subject=subject) from error
    size = len(body) + sum(_bytes(text, subject) for one in headers.items() for text in one) + _bytes(key, subject)
    if size > MOST_BYTES:
        raise RecordTooLarge(
            f"a message of {subject} has {size:,} bytes with its key and headers, and may have {MOST_BYTES:,}: send "
            f"where its data is",
            subject=subject,
        )
    return body


def _bytes(text: object, subject: str) -> int:
    try:
        if isinstance(text, str):
            return len(text.encode())
    except UnicodeEncodeError:
        pass
    raise InvalidInput(f"a message of {subject}: its key and headers are texts, and {text!r} is none", subject=subject)


def checked(kind: Any) -> "TypeAdapter[Any]":
    """What checks data of this type. Raises `InvalidConfig` for one that pydantic cannot check, and for secrets."""
    try:
        # Its text too: unions in another order are equal, and are tried in that order.
        return _checked(kind, repr(kind))
    except TypeError:  # it cannot be hashed, as what some annotations hold
        return _checked.__wrapped__(kind, "")


@lru_cache(1_024)
def _checked(kind: Any, _: str) -> "TypeAdapter[Any]":
    """Each request names the type of its reply, and a check takes long to build."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(readable_again(kind))
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise InvalidConfig(f"messages cannot be checked by the type {kind!r}: {said(error)}") from error
    with suppress(PydanticInvalidForJsonSchema):  # its own way to be read may have no schema
        if holds_secret(adapter):
            raise InvalidConfig(
                f"messages of the type {kind!r} have a secret in them, which arrives as asterisks: let who needs it "
                f"have it in another way, as by a @resource"
            )
    return adapter


def data_of(body: bytes, kind: "TypeAdapter[T]", what: str) -> T:
    """The data of this type. Raises `InvalidInput` that says what is wrong."""
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        raise InvalidInput(f"{what} fails its type: {first_of(error)}") from error


def reply_of(value: Any, error: BelugaError | None, subject: str) -> tuple[bytes, str | None]:
    """What a reply has as its body, and as its code if it tells of a failure: then the body is its text."""
    if error is None:
        try:
            return body_of(value, "", {}, subject), None
        except InvalidInput as wrong:
            error = wrong
    return orjson.dumps(said(error)), error.code


def error_of(answer: Parcel, subject: str) -> ExecutionFailed:
    """The failure that a reply tells of."""
    message: Any = orjson.loads(answer.body)
    made = ExecutionFailed(f"the subscriber of {subject} failed: {message} ({answer.error})", subject=subject)
    made.retryable = answer.error in RETRYABLE_CODES
    return made
