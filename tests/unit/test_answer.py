"""What is raised for who waits for a run that ended otherwise than well."""

import pytest

from beluga_stream.application.answer import check_ended
from beluga_stream.application.results import RunChanged
from beluga_stream.domain.events import Failure
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.reducer import outgrown
from beluga_stream.errors import RunFailed


def told(failure: Failure) -> RunFailed:
    with pytest.raises(RunFailed) as failed:
        check_ended(RunId("r"), RunChanged(cursor="0-0", at_ms=1, status="failed", failure=failure))
    return failed.value


@pytest.mark.parametrize("code", ["execution_failed", "resource_exhausted"])
def test_a_run_whose_node_failed_is_told_with_how_it_goes_on(code: str) -> None:
    failed = told(Failure(code, "think raised it", node="think", attempt=2))
    assert str(failed) == "run r failed: think raised it. `beluga runs retry r` goes on from the failed nodes"
    assert (failed.reason, failed.ids["node"], failed.ids["attempt"]) == (code, "think", "2")


def test_nobody_is_sent_to_retry_a_run_that_has_outgrown_its_record() -> None:
    failed = told(Failure("resource_exhausted", outgrown(2_000, 1_000)))
    assert str(failed).endswith("let nodes return less, or map over fewer items at a time")
