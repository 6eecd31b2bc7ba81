"""What JSON schemas say of values that come from elsewhere: the place that is wrong, or nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jsonschema_rs

from ..domain.payload import Json

_MESSAGE_MOST = 1_000
_QUOTED = 200
"""Characters of a message, and of those the ones at its beginning when it is longer."""


class Misfit(NamedTuple):
    """Where a value is wrong, from the outermost key or index on, and how."""

    path: Sequence[str | int]
    message: str

    @property
    def place(self) -> str:
        """The path in one word; "" stands for the whole value."""
        return ".".join(map(str, self.path))


class Schema:
    """A JSON schema, made ready. None and `{}` are content with anything."""

    def __init__(self, schema: Json) -> None:
        self._validator: Any = None if schema in (None, {}) else jsonschema_rs.validator_for(schema)

    def misfit(self, value: Json, *within: str | int) -> Misfit | None:
        """What is wrong with a value that is found `within` another one; None: it fits."""
        if self._validator is None:
            return None
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return Misfit([*within, *error.instance_path], _short(error.message))
        except ValueError as error:  # it goes no deeper than some 250 levels, as what it checks may nowhere be
            return Misfit(within, f"it nests too deep: {error}")
        return None


def _short(message: str) -> str:
    """It quotes the value first, however large that is, and says what is wrong with it last."""
    cut = len(message) - _MESSAGE_MOST
    return message if cut <= 0 else f"{message[:_QUOTED]}...{message[_QUOTED + cut :]}"
