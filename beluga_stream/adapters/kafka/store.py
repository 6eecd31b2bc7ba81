"""Where the rows of one owned partition live locally: a dictionary, or RocksDB when they are many."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ...errors import InvalidConfig, LogUnavailable

log = logging.getLogger(__name__)

Change = tuple[str, bytes | None]

_CACHE_BYTES = 32 << 20


class Store(Protocol):
    """Rows of one partition. Never the truth: the changelog is, and this is dropped at every revoke."""

    def get(self, key: str) -> bytes | None: ...
    def items(self) -> Iterable[tuple[str, bytes]]: ...
    def apply(self, changes: Iterable[Change]) -> None: ...
    def close(self) -> None: ...


StoreFactory = Callable[[int], Store]
"""Makes an empty store for a partition."""


class MemoryStore:
    """Rows in a dictionary."""

    def __init__(self, partition: int) -> None:
        self._rows: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[str, bytes]]:
        return self._rows.items()

    def apply(self, changes: Iterable[Change]) -> None:
        rows = self._rows
        for key, value in changes:
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value

    def close(self) -> None:
        self._rows.clear()


class RocksStore:
    """Rows in RocksDB, in a directory of this partition that is wiped on open: no other process may have `directory`.

    The partitions of a process share one cache to read (32 MiB); each has a small one to write (4 MiB). Opening
    and writing raise `LogUnavailable` where the disk fails, or is full.
    """

    def __init__(self, directory: Path, partition: int, cache: Any) -> None:
        import rocksdict  # noqa: PLC0415 - an optional extra

        self._path = directory / str(partition)
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_write_buffer_size(4 << 20)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(cache)
        options.set_block_based_table_factory(table)
        try:
            self._rows = rocksdict.Rdict(str(self._path), options)
        except Exception as error:
            raise self._failed(error) from error
        self._write_options = rocksdict.WriteOptions()
        # The changelog is the durable copy; a write-ahead log here would only cost time.
        self._write_options.disable_wal = True  # type: ignore[method-assign, assignment]
        self._write_batch = rocksdict.WriteBatch

    @classmethod
    def factory(cls, directory: Path) -> StoreFactory:
        """A `StoreFactory` for stores below `directory`. Raises `InvalidConfig` without the package."""
        try:
            import rocksdict  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            needs = "BELUGA_STORE=rocksdb needs the package rocksdict: pip install 'beluga-stream[rocksdb]'"
            raise InvalidConfig(needs) from error

        cache = rocksdict.Cache(_CACHE_BYTES)
        return lambda partition: cls(directory, partition, cache)

    def get(self, key: str) -> bytes | None:
        value = self._rows.get(key.encode())
        return value if isinstance(value, bytes) else None

    def items(self) -> Iterator[tuple[str, bytes]]:
        for key, value in self._rows.items():
            yield str(key, "utf-8"), bytes(value)  # type: ignore[arg-type]

    def apply(self, changes: Iterable[Change]) -> None:
        batch = self._write_batch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key.encode())
            else:
                batch.put(key.encode(), value)
        try:
            self._rows.write(batch, write_opt=self._write_options)
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        try:
            self._rows.close()
        except Exception as error:  # noqa: BLE001 - what it could not write is deleted in a moment
            log.warning("%s", self._failed(error), extra={"action": "store.close"})
        shutil.rmtree(self._path, ignore_errors=True)

    def _failed(self, error: Exception) -> LogUnavailable:
        return LogUnavailable(
            f"the table in {self._path} fails: {error}: is there room on the disk? BELUGA_DATA chooses another one, "
            f"BELUGA_STORE=memory needs none"
        )
