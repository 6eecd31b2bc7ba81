"""The seldom lines of Temporal's SDK are log records like any: with an action, and the fields that they came with."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from beluga_stream.adapters.temporal.core import _Named, log


def _record(**more: Any) -> logging.LogRecord:
    record = logging.LogRecord(log.name, logging.WARNING, __file__, 1, "gave up after %d tries", (3,), None)
    vars(record).update(more)
    return record


def test_a_line_of_the_core_gets_an_action_and_its_fields_as_text() -> None:
    record = _record(temporal_log=SimpleNamespace(fields={"task_queue": "orders"}))
    assert _Named().filter(record)
    assert vars(record)["action"] == "temporal"
    assert record.getMessage() == "gave up after 3 tries {'task_queue': 'orders'}"
    assert not hasattr(record, "temporal_log"), "an object that no format can write"


@pytest.mark.parametrize("field", ["100 %", "%s", "{}"])
def test_what_a_field_holds_is_no_format(field: str) -> None:
    record = _record(temporal_log=SimpleNamespace(fields={"said": field}))
    _Named().filter(record)
    assert field in record.getMessage()


def test_a_line_of_our_own_is_left_as_it_is() -> None:
    record = _record(action="workflows_served")
    assert _Named().filter(record)
    assert (record.getMessage(), vars(record)["action"]) == ("gave up after 3 tries", "workflows_served")
