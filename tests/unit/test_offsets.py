"""How far an owned partition was read: it never goes back, whatever comes again."""

from beluga_stream.application.coordinator.offsets import Offsets
from beluga_stream.ports.log import Record


def taken_up() -> Offsets:
    """By an owner whose table knows more than its group has committed."""
    before = Offsets()
    before.read["events"] = 8
    before.done["events"] = 8
    offsets = Offsets()
    offsets.take_up(before.row(), {"events": 4}, {"events": 0})
    return offsets


def test_it_begins_where_the_table_says_and_the_records_before_are_over() -> None:
    offsets = taken_up()
    assert offsets.read == {"events": 8}
    assert [offsets.is_over(Record("events", 0, offset, None, None)) for offset in (4, 7, 8)] == [True, True, False]


def test_an_offset_without_a_record_among_what_is_over_does_not_set_it_back() -> None:
    offsets = taken_up()
    offsets.passed("events", 7)
    assert offsets.read == {"events": 8}
    offsets.passed("events", 9)
    assert offsets.read == {"events": 9}
