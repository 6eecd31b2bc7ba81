"""A recording of an earlier engine, as it lies in the folder `recorded`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from beluga_stream.ports.log import Outgoing

FOLDER = Path(__file__).parent / "recorded"
NAMES = sorted(path.name for path in FOLDER.iterdir())

_MOMENTS = ("at_ms", "since_ms", "started_ms", "ended_ms", "due_ms")


@dataclass(frozen=True)
class Recording:
    """See the module. Values are JSON as it was written, byte for byte but for the escapes in texts."""

    name: str

    def records(self, shift_ms: int = 0) -> Iterator[tuple[Outgoing, Any]]:
        """Every record, partition by partition in the order of the log, with its value as a tree.

        As if it had been written so many milliseconds later.
        """
        for line in self._lines("records", shift_ms):
            headers = tuple((name, value.encode()) for name, value in line["headers"])
            key = None if line["key"] is None else line["key"].encode()
            value = orjson.dumps(line["value"])
            yield Outgoing(line["topic"], key, value, headers, line["partition"]), line["value"]

    def rows(self, shift_ms: int = 0, prefix: str = "beluga") -> Iterator[tuple[int, str, bytes, Any]]:
        """Partition, key and value of each row of the table, and the value as a tree.

        Rows name topics; `prefix` begins their names.
        """
        for line in self._lines("table", shift_ms):
            tree = line["value"]
            value = tree.encode() if isinstance(tree, str) else orjson.dumps(tree)
            value = value.replace(b'"beluga.', f'"{prefix}.'.encode())
            yield line["partition"], line["key"], value, tree

    def gatherings(self) -> Iterator[tuple[int, str, bytes, Any]]:
        """The same of the gatherers' table; nothing, where there was none."""
        for line in self._lines("gatherings"):
            yield line["partition"], line["key"], orjson.dumps(line["value"]), line["value"]

    @property
    def has_triggers(self) -> bool:
        return (FOLDER / self.name / "gatherings.jsonl").exists()

    def offsets(self) -> Iterator[tuple[str, str, int, int]]:
        """Group, topic, partition and what was committed."""
        for line in self._lines("offsets"):
            yield line["group"], line["topic"], line["partition"], line["offset"]

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        for line in self._lines("blobs"):
            yield line["ref"], orjson.dumps(line["value"])

    def _lines(self, what: str, shift_ms: int = 0) -> Iterator[Any]:
        path = FOLDER / self.name / f"{what}.jsonl"
        if what == "gatherings" and not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield _shifted(json.loads(line), shift_ms)


def _shifted(tree: Any, shift_ms: int) -> Any:
    if isinstance(tree, list):
        return [_shifted(each, shift_ms) for each in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: value + shift_ms if key in _MOMENTS and isinstance(value, int) else _shifted(value, shift_ms)
        for key, value in tree.items()
    }
