"""The conformance suite on the local shell."""

import pytest

from beluga_stream.errors import RunFailed
from tests.conformance.graphs import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_local_shell_agrees(case: Case) -> None:
    if case.failure is not None:
        with pytest.raises(RunFailed) as failed:
            await case.graph.invoke(case.input)
        assert failed.value.reason == case.failure
        return
    assert await case.graph.invoke(case.input, signals=dict(case.signals)) == case.result
