"""What JSON schemas say of values that come from elsewhere: the place that is wrong, or nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jsonschema_rs

from ..domain.payload import Json


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
            return Misfit([*within, *error.instance_path], error.message)
        return None
