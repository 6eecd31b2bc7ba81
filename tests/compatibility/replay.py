"""What the users of the recorded runs do after the upgrade, and how their runs end."""

from typing import Any

from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import run_id
from beluga_stream.errors import BelugaError
from tests.compatibility.graphs import Case


async def ended(runs: Runs, case: Case) -> Any:
    """Start, retry or signal the run, wait for it, and return its output or the code of its failure."""
    run = run_id(case.graph.name, "api", case.key)
    if case.then == "start":
        definition = case.graph.compile().definition
        again = await runs.start(
            definition.name, case.input, definition=definition.hash, idempotency_key=case.key, tags={"case": case.key}
        )
        assert again == run
    elif case.then == "retry":
        await runs.retry(run)
    for signal, value in case.signals:
        await runs.signal(run, signal.name, value, id=f"after-{signal.name}")
    try:
        return await runs.result(run)
    except BelugaError as error:
        return getattr(error, "reason", None) or error.code
