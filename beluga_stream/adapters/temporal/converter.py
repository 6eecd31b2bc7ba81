"""Values as Temporal keeps them: the engine's by msgspec, users' by pydantic; with a cipher all are sealed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
)

from ...application.execution.judging import said
from ...application.sealing import seal, unseal
from ...errors import NotSerializable
from ...ports.cipher import Cipher

_SEALED = b"binary/beluga-sealed"
_OWNER = "temporal"
"""What a seal is bound to, as a run's values are to their run."""


class EnvelopeConverter(PydanticJSONPlainPayloadConverter):
    """JSON, by whom the type belongs to. Raises `NotSerializable`."""

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, msgspec.Struct):
            try:
                return super().to_payload(value)
            except Exception as error:
                raise NotSerializable(f"the value cannot become JSON: {said(error)}") from error
        return Payload(metadata={"encoding": self.encoding.encode()}, data=msgspec.json.encode(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        if isinstance(type_hint, type) and issubclass(type_hint, msgspec.Struct):
            return msgspec.json.decode(payload.data, type=type_hint)
        return super().from_payload(payload, type_hint)


class _Converters(CompositePayloadConverter):
    """Temporal's own, with another for JSON."""

    def __init__(self) -> None:
        json = EnvelopeConverter()
        super().__init__(
            *(
                json if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


class SealingCodec(PayloadCodec):
    """Seals whole payloads, so that the server sees sealed values only. What is not sealed passes unchanged."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(
                metadata={"encoding": _SEALED, "key": self._cipher.active.encode()},
                data=seal(self._cipher, payload.SerializeToString(), _OWNER),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises `KeyMissing` and `Tampered`."""
        return [self._opened(payload) for payload in payloads]

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != _SEALED:
            return payload
        opened = Payload()
        opened.ParseFromString(unseal(self._cipher, payload.data, _OWNER))
        return opened


def converter(cipher: Cipher | None) -> DataConverter:
    """The data converter of clients and workers. Messages of failures are values, too."""
    plain = DataConverter(payload_converter_class=_Converters, failure_converter_class=DefaultFailureConverter)
    if cipher is None:
        return plain
    return replace(
        plain,
        payload_codec=SealingCodec(cipher),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
