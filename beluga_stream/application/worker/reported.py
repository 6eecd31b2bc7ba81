"""What a worker has reported lately: a redelivery is answered with the outcome that there was."""

from collections import OrderedDict

from ...domain.ids import RunId
from ...ports.log import Outgoing
from ..messages import NodeReady

_MOST = 10_000
_MOST_BYTES = 16 * 1024 * 1024
"""An outcome has its output inline, up to 64 KiB: so many of those would take gigabytes."""

Key = tuple[RunId, str, int, int]
"""Run, node key, attempt and generation: a run that is forgotten may begin again under its id, and is another then."""


class Reported:
    """The last outcomes, bounded by count and by bytes; the oldest go first."""

    def __init__(self) -> None:
        self._records: OrderedDict[Key, Outgoing] = OrderedDict()
        self._bytes = 0

    def get(self, work: NodeReady) -> Outgoing | None:
        return self._records.get(_key(work))

    def put(self, work: NodeReady, record: Outgoing) -> None:
        key = _key(work)
        self._bytes += _size(record) - _size(self._records.get(key))
        self._records[key] = record
        while len(self._records) > _MOST or self._bytes > _MOST_BYTES:
            self._bytes -= _size(self._records.popitem(last=False)[1])


def _key(work: NodeReady) -> Key:
    return work.run, work.node, work.attempt, work.generation


def _size(record: Outgoing | None) -> int:
    return 0 if record is None else len(record.value or b"")
