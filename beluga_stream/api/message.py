"""`Message`: a trigger's event, as `where`, `map` and `idempotency_key` see it."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Message(Protocol[T_co]):
    """One event. `id` and `source` are a CloudEvent's; for plain JSON they say where the record lies, and since when.

    For a trigger by `on_run`, `id` is the id of the run that ended.
    """

    @property
    def id(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def data(self) -> T_co: ...
