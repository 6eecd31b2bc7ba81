"""How DBOS keeps values: JSON instead of pickle, sealed when values are encrypted."""

import base64
import json
from typing import Any

from dbos import Serializer

from ...application.sealing import MARK, seal, unseal
from ...errors import Tampered
from ...ports.cipher import Cipher

OWNER = "dbos"
"""What a seal is bound to, as a run's values are to their run."""

_ERROR = "$error"

SEALED = base64.b64encode(MARK[:6]).decode()
"""Begins every sealed value, and no JSON."""


class RunEnded(Exception):
    """The workflow ends without a result. Its text is an `Ended`, or what else went wrong."""


class JsonSerializer(Serializer):
    """Errors come back as `RunEnded`: nothing that is read from the database decides which code is loaded.

    What is not sealed is read as it is, with a cipher, too: it was written before encryption was turned on.
    """

    def __init__(self, cipher: Cipher | None = None) -> None:
        self._cipher = cipher

    def name(self) -> str:
        return "beluga_json"

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            text = str(data) if isinstance(data, RunEnded) else f"{type(data).__name__}: {data}"
            data = {_ERROR: text}
        text = json.dumps(data)
        if self._cipher is None:
            return text
        return base64.b64encode(seal(self._cipher, text.encode(), OWNER)).decode()

    def deserialize(self, serialized_data: str) -> Any:
        """Raises `KeyMissing` and `Tampered`."""
        if serialized_data.startswith(SEALED):
            serialized_data = unseal(self._cipher, sealed_bytes(serialized_data), OWNER).decode()
        data = json.loads(serialized_data)
        if isinstance(data, dict) and _ERROR in data:
            return RunEnded(data[_ERROR])
        return data

    def legible(self, read: Any) -> Any:
        """What DBOS has read, if it could: else it hands over what is kept. Raises `KeyMissing` and `Tampered`."""
        return self.deserialize(read) if isinstance(read, str) and read.startswith(SEALED) else read


def sealed_bytes(kept: str) -> bytes:
    """A sealed value as it was before it became text. Raises `Tampered`."""
    try:
        return base64.b64decode(kept, validate=True)
    except ValueError as error:
        raise Tampered("an encrypted value in DBOS's database does not open: it was altered") from error
