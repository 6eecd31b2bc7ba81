"""Unfinished runs as the changelog has them: read from outside, by whoever wants to know how they stand."""

from collections.abc import Iterable, Mapping
from contextlib import aclosing

from ..domain.ids import RunId
from ..domain.state import RunState
from ..ports.log import Reader
from . import codec


async def unfinished(
    reader: Reader, changelog: str, partitions: Iterable[int], only: RunId | None = None
) -> list[RunState]:
    """The runs of these partitions that go on, oldest first; with `only` this run and its pages.

    Reads each partition's changelog up to its present end. Raises `TopicMissing`, `InvalidInput`.
    """
    begins, ends = await reader.beginning(changelog), await reader.end(changelog)
    rows: dict[str, bytes] = {}
    wanted = None if only is None else str(only)
    start = {number: begins[number] for number in partitions if begins[number] < ends[number]}
    until: Mapping[int, int] = {number: ends[number] for number in start}
    if start:
        records = reader.read(changelog, start, until=until)
        async with aclosing(records) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for record in batch:
                    key = (record.key or b"~").decode()
                    if key.startswith("~") or wanted not in (None, key.partition(".")[0]):
                        continue
                    if record.value is None:
                        rows.pop(key, None)
                    else:
                        rows[key] = record.value
    states = [codec.kept.decode(value).state for value in rows.values()]
    return sorted((state for state in states if not state.ended), key=lambda state: state.started_ms)
