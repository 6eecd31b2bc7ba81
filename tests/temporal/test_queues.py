"""Who takes which runs: a worker whose log stays in its process is never given one that others must hear of."""

import secrets
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from beluga_stream import Graph, Orchestrator, temporal_worker
from beluga_stream.adapters.temporal.envelopes import Ended
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import RunId
from tests.durable import Bench, Deployed, started_threads


async def increment(number: int) -> int:
    return number + 1


one = Graph[int, int]("durable-one", durable=True)
one.set_finish_point(one.add_node(increment, one.input))


async def test_a_worker_with_a_log_of_its_own_takes_no_run_of_an_engine(
    temporal: Client, temporal_address: str, tmp_path: Path
) -> None:
    queue = secrets.token_hex(8)
    engine = Bench(temporal, Deployed([one.compile()]), task_queue=queue)
    settings = Settings.load(
        temporal_address=temporal_address,
        temporal_task_queue=queue,
        blobs=str(tmp_path),
        shutdown_grace_seconds=0.5,
    )
    run = await engine.start(one, 1)
    async with temporal_worker(one, settings=settings, log="memory"), Orchestrator(settings) as orch:
        workflow = orch.create_workflow(one)
        assert await workflow.get_result(await workflow.execute(4), timeout=60) == 5
        assert not await _begun(temporal, run), "it was asked for before the one that has ended"
    with started_threads(2) as threads:
        async with engine.worker(threads=threads):
            ended = await temporal.get_workflow_handle(run, result_type=Ended).result()
    assert ended.status == "succeeded"
    await engine.close()


async def _begun(temporal: Client, run: RunId) -> bool:
    """Whether some worker was given a task of the run."""
    history = await temporal.get_workflow_handle(run).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED for event in history.events)
