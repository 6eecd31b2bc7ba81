"""How DBOS keeps values: JSON instead of pickle, sealed when values are encrypted."""

import base64
import json
from typing import Any

from dbos import Serializer

from ...application.sealing import seal, unseal
from ...ports.cipher import Cipher

_OWNER = "dbos"
"""What a seal is bound to, as a run's values are to their run."""

_ERROR = "$error"


class RunEnded(Exception):
    """The workflow ends without a result. Its text is an `Ended`, or what else went wrong."""


class JsonSerializer(Serializer):
    """Errors come back as `RunEnded`: nothing that is read from the database decides which code is loaded."""

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
        return base64.b64encode(seal(self._cipher, text.encode(), _OWNER)).decode()

    def deserialize(self, serialized_data: str) -> Any:
        """Raises `KeyMissing` and `Tampered`."""
        if self._cipher is not None:
            serialized_data = unseal(self._cipher, base64.b64decode(serialized_data), _OWNER).decode()
        data = json.loads(serialized_data)
        if isinstance(data, dict) and _ERROR in data:
            return RunEnded(data[_ERROR])
        return data
