"""How far the topics of an owned partition were read: what is applied, what is done with, and what comes again.

The table says so beside the runs, since the broker forgets a group that has no members for long.
"""

from collections.abc import Mapping

import orjson

from ...ports.log import Record

_SENT = "~sent"


class Offsets:
    """See the module. Each mapping is by topic."""

    def __init__(self) -> None:
        self.read: dict[str, int] = {}
        """The offset before which all was applied here."""
        self.known: dict[str, int] = {}
        """What `read` was when the recovered table was last written: its topics went that far at least."""
        self.done: dict[str, int] = {}
        """The offset before which all that the records led to is known to be durable and sent."""
        self.repeats: dict[str, int] = {}
        """The offset from which on the recovered table knows nothing. Empty, once that is reached."""
        self._was_done: Mapping[str, int] = {}
        self._sealed: dict[int, Mapping[str, int]] = {}
        """What `read` was at the end of each batch that may not be sent, or whose predecessor may not be."""
        self._sent: set[int] = set()
        """Those of them that are sent: one without records is done before the one before it is."""

    def take_up(self, row: bytes | None, committed: Mapping[str, int], begins: Mapping[str, int]) -> None:
        """Find out how far it was read: by the table, and by what the group has committed for each topic.

        What retention has removed counts as read, or no deadline would ever fire.
        """
        known = {} if row is None else orjson.loads(row)
        done = known.pop(_SENT, {})
        self.known = known
        self.done = {topic: max(done.get(topic, 0), committed.get(topic, 0)) for topic in begins}
        self.read = {topic: max(begin, self.done[topic]) for topic, begin in begins.items()}
        self._was_done = dict(self.done)
        self.repeats = dict(self.done)

    def recover(self, source: Mapping[str, int]) -> bool:
        """A row of the table was changed by these records. Whether what they led to may not have been sent."""
        may_be_unsent = False
        for topic, offset in source.items():
            if offset >= self._was_done.get(topic, 0):
                may_be_unsent = True
                self.repeats[topic] = max(self.repeats.get(topic, 0), offset + 1)
        return may_be_unsent

    def is_over(self, record: Record) -> bool:
        """Whether all that this record led to is durable and sent, by an earlier owner."""
        until = self.repeats.get(record.topic)
        if until is None:
            return False
        if record.offset >= until:
            del self.repeats[record.topic]
            return False
        return record.offset < self._was_done.get(record.topic, 0)

    def passed(self, topic: str, offset: int) -> None:
        """Before this offset there is no more to come. It may lie among what an earlier owner has done with."""
        self.read[topic] = max(self.read.get(topic, 0), offset)

    def row(self) -> bytes:
        """What the table is to say."""
        return orjson.dumps({**self.read, _SENT: self.done})

    def seal(self, batch: int) -> None:
        """A batch ends here. What it leads to is not known to be sent yet."""
        self._sealed[batch] = dict(self.read)

    def sent(self, batch: int) -> None:
        """What the batch led to is durable and sent; it is done once the batches before it are, too."""
        if batch in self._sealed:
            self._sent.add(batch)
        while self._sealed and (first := next(iter(self._sealed))) in self._sent:
            self._sent.remove(first)
            self.done.update(self._sealed.pop(first))
