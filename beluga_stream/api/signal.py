"""`Signal`: a named, typed message from outside to a running run."""

from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import InvalidConfig, InvalidInput

R = TypeVar("R")


class Signal(Generic[R]):
    """A message that `Run.signal` sends and `Graph.wait` waits for.

    `name` addresses it within a run; `kind` is its value's type. Raises `InvalidConfig` for an empty name.
    """

    def __init__(self, name: str, kind: type[R]) -> None:
        if not name:
            raise InvalidConfig("a Signal needs a name: runs are signalled by it")
        self.name = name
        self.kind = kind

    def dump(self, value: object) -> Any:
        """A value of it as JSON. Raises `InvalidInput` for a value of another type."""
        adapter: TypeAdapter[R] = TypeAdapter(self.kind)
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json")
        except ValidationError as error:
            raise InvalidInput(f"signal {self.name!r} takes {self.kind}: {error}") from error

    def __repr__(self) -> str:
        return f"Signal({self.name!r}, {getattr(self.kind, '__name__', self.kind)})"
