"""The table of runs as Faust sees it: a mapping to read, whose writes go through the role's commits."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, NoReturn

import faust
from faust.stores.base import Store

from ...errors import InvalidState
from ...ports.log import PartitionTable

_READ_ONLY = (
    "the table of runs is written by the coordinator's commits only: a write from here would"
    " overtake the decisions that are on their way to the changelog"
)


class RunStore(Store):
    """The partition tables that are open in this process, as one Faust store."""

    def __init__(self, *args: Any, opened: Mapping[int, PartitionTable], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opened = opened

    def __getitem__(self, key: str) -> bytes:
        for table in list(self._opened.values()):
            value = table.get(key)
            if value is not None:
                return value
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(table.get(key) is not None for table in list(self._opened.values()))

    def __iter__(self) -> Iterator[str]:
        for table in list(self._opened.values()):
            yield from [key for key, _ in table.items()]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> KeysView[str]:
        return KeysView(self)

    def values(self) -> ValuesView[bytes]:
        return ValuesView(self)

    def items(self) -> ItemsView[str, bytes]:
        return ItemsView(self)

    def __setitem__(self, key: str, value: bytes) -> NoReturn:
        raise InvalidState(_READ_ONLY)

    def __delitem__(self, key: str) -> NoReturn:
        raise InvalidState(_READ_ONLY)

    def apply_changelog_batch(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InvalidState("the table of runs recovers itself; Faust must not read its changelog")

    async def backup_partition(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InvalidState("the table of runs has no backups: its changelog is the copy that counts")

    def restore_backup(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InvalidState("the table of runs has no backups: its changelog is the copy that counts")

    def reset_state(self) -> None:
        """The role drops its partitions itself."""


class RunTable(faust.Table):
    """`app.tables["runs"]` of the coordinator: keys are run ids, values their encoded states.

    `opened` is a live view of the partition tables this process owns, `changelog` their topic. Reading
    works as for any Faust table; writing raises `InvalidState`.
    """

    def __init__(
        self, app: faust.App, *, opened: Mapping[int, PartitionTable], changelog: str, name: str = "runs"
    ) -> None:
        self._opened = opened
        super().__init__(
            app,
            name=name,
            key_type=str,
            value_type=bytes,
            changelog_topic=app.topic(changelog, key_type=str, value_type=bytes, acks=False, internal=False),
        )

    def _new_store(self) -> RunStore:
        return RunStore("memory://", self.app, self, table_name=self.name, opened=self._opened)

    async def on_start(self) -> None:
        """Start the store. The changelog topic exists already: topics are created before apps start."""
        await self.add_runtime_dependency(self.data)

    def on_key_set(self, key: str, value: bytes) -> NoReturn:
        raise InvalidState(_READ_ONLY)

    def on_key_del(self, key: str) -> NoReturn:
        raise InvalidState(_READ_ONLY)

    def on_clear(self) -> NoReturn:
        raise InvalidState(_READ_ONLY)
