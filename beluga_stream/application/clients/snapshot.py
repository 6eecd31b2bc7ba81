"""The table as the changelog has it: read from outside, by whoever wants to know how runs stand."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from ...domain.ids import RunId
from ...domain.state import RunState
from ...ports.log import Reader
from .. import codec


async def rows(
    reader: Reader, changelog: str, partitions: Iterable[int] | None = None
) -> AsyncGenerator[Sequence[tuple[str, bytes | None]], None]:
    """What was written to these partitions, or to all, up to their present ends.

    The last value of a key counts, None removes it. Raises `TopicMissing`, `LogUnavailable`.
    """
    begins, ends = await reader.beginning(changelog), await reader.end(changelog)
    wanted = begins.keys() if partitions is None else partitions
    start = {number: begins[number] for number in wanted if begins[number] < ends[number]}
    if not start:
        return
    records = reader.read(changelog, start, until={number: ends[number] for number in start})
    async with aclosing(records) as batches:
        async for batch in batches:
            yield [((record.key or b"~").decode(), record.value) for record in batch]


async def unfinished(
    reader: Reader, changelog: str, partitions: Iterable[int], only: RunId | None = None
) -> list[RunState]:
    """The runs of these partitions that go on, oldest first; with `only` this run and its pages. See `remembered`."""
    return [state for state in await remembered(reader, changelog, partitions, only) if not state.ended]


async def remembered(
    reader: Reader, changelog: str, partitions: Iterable[int], only: RunId | None = None
) -> list[RunState]:
    """As `unfinished`, and with what is remembered of those that have ended.

    Reads each partition's changelog up to its present end. Raises `TopicMissing`, `InvalidInput`.
    """
    last: dict[str, bytes] = {}
    wanted = None if only is None else str(only)
    async with aclosing(rows(reader, changelog, partitions)) as batches:
        async for batch in batches:
            for key, value in batch:
                if key.startswith("~") or wanted not in (None, key.partition(".")[0]):
                    continue
                if value is None:
                    last.pop(key, None)
                else:
                    last[key] = value
    states = [codec.kept.decode(value).state for value in last.values()]
    return sorted(states, key=lambda state: state.started_ms)
