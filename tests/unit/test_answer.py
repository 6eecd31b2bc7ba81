"""What is raised for who waits for a run that ended otherwise than well."""

import pytest

from beluga_stream.adapters.http.result import Result
from beluga_stream.adapters.http.stream import Frame
from beluga_stream.application.clients.answer import Answer, Asked, check_ended
from beluga_stream.application.clients.results import RunChanged
from beluga_stream.domain.events import Failure
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.reducer import outgrown
from beluga_stream.errors import RunFailed


def told(failure: Failure) -> RunFailed:
    with pytest.raises(RunFailed) as failed:
        check_ended(RunId("r"), RunChanged(cursor="0-0", at_ms=1, status="failed", failure=failure), undone=False)
    return failed.value


@pytest.mark.parametrize("code", ["execution_failed", "resource_exhausted"])
def test_a_run_whose_node_failed_is_told_with_how_it_goes_on(code: str) -> None:
    failed = told(Failure(code, "think raised it", node="think", attempt=2))
    assert str(failed) == "run r failed: think raised it. `beluga runs retry r` goes on from the failed nodes"
    assert (failed.reason, failed.ids["node"], failed.ids["attempt"]) == (code, "think", "2")


def test_nobody_is_sent_to_retry_a_run_that_has_outgrown_its_record() -> None:
    failed = told(Failure("resource_exhausted", outgrown(2_000, 1_000)))
    assert str(failed).endswith("let nodes return less, or map over fewer items at a time")


def test_nobody_is_sent_to_retry_a_run_that_is_undone() -> None:
    failure = Failure("timeout", "the run did not end within 3 s")
    answer, result = Answer(RunId("r"), Asked()), Result(RunId("r"))
    for status in ("running", "compensating", "failed"):
        event = RunChanged(cursor="0-0", at_ms=1, status=status, failure=failure if status == "failed" else None)
        answer.hear(event)
        result.hear(Frame("run", {"type": "run", "cursor": "0-0", "at_ms": 1, "status": status}))
    with pytest.raises(RunFailed) as failed:
        check_ended(RunId("r"), answer.ended, undone=answer.undone)
    assert str(failed.value).endswith("the run did not end within 3 s. What it had done is undone: start a new run")
    with pytest.raises(RunFailed, match="What it had done is undone: start a new run"):
        result.value()
    answer.hear(RunChanged(cursor="0-1", at_ms=1, status="running"))
    assert not answer.undone
