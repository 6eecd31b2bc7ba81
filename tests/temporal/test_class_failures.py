"""What a user's workflow class may do wrong: it raises, it is not deterministic, and a deployment changes it."""

import asyncio
from typing import Any

import pytest

from beluga_stream import Orchestrator, temporal_worker
from beluga_stream.adapters.temporal.interpreter import Interpreter
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import CodeMissing, ExecutionFailed, RunFailed, TaskCanceled
from tests.temporal import works


def serving(settings: Settings, *classes: type) -> Any:
    return temporal_worker(workflows=classes, activities=[works.greet], settings=settings, log="memory")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (works.Raising, "failed: ValueError: attempt 1 is broken"),
        (works.RaisingOutside, "failed: ValueError: broken outside"),
        (works.Guessing, r"random\.randint"),
    ],
)
async def test_a_class_that_raises_has_failed_and_says_of_what(settings: Settings, made: type, told: str) -> None:
    async with Orchestrator(settings) as orch, serving(settings, made):
        raising = orch.create_workflow(made, retries=0)
        run = await raising.execute(1)
        with pytest.raises(RunFailed, match=told):
            await raising.get_result(run, timeout=30)
        assert (await raising.describe(run)).state == "failed"


async def test_a_class_that_raises_is_begun_again(settings: Settings) -> None:
    async with Orchestrator(settings) as orch, serving(settings, works.Raising):
        raising = orch.create_workflow(works.Raising, retries=1)
        assert await raising.get_result(await raising.execute(1), timeout=30) == 2


async def test_one_that_has_begun_again_is_still_the_one_that_was_executed(settings: Settings) -> None:
    async with Orchestrator(settings) as orch, serving(settings, works.SecondWaits):
        made = orch.create_workflow(works.SecondWaits)
        run, other = await made.execute(1), await made.execute(2)
        async with asyncio.timeout(30):
            for each in (run, other):
                while await made.query(each, "attempt") < 2:  # noqa: ASYNC110 - it tells no event
                    await asyncio.sleep(0.05)
        assert (await made.describe(run)).state == "running"
        await made.signal(run, "finish")
        assert await made.get_result(run, timeout=30) == 1
        await made.cancel(other)
        with pytest.raises(TaskCanceled):
            await made.get_result(other, timeout=30)


async def test_an_input_that_a_class_cannot_read_fails_it(settings: Settings) -> None:
    async with Orchestrator(settings) as orch, serving(settings, works.Raising):
        raising = orch.create_workflow(works.Raising, retries=0)
        with pytest.raises(RunFailed, match="integer"):
            await raising.get_result(await raising.execute("no number"), timeout=30)


async def test_an_update_that_raises_is_answered_and_harms_nothing(settings: Settings) -> None:
    async with Orchestrator(settings) as orch, serving(settings, works.Deployed):
        made = orch.create_workflow(works.Deployed)
        run = await made.execute("to")
        with pytest.raises(ExecutionFailed, match="nobody hears be"):
            await made.update(run, "hear", "be")
        await made.signal(run, "say", "be")
        assert await made.get_result(run, timeout=30) == "to be"


@pytest.mark.parametrize(("served", "code"), [(works.Raising, "code_missing"), (works.Blocking, "workflow_deadlock")])
async def test_a_class_that_its_worker_lacks_or_that_blocks_it_stands_still(
    settings: Settings, served: type, code: str
) -> None:
    async with Orchestrator(settings) as orch, serving(settings, served):
        made = orch.create_workflow(works.Blocking)
        run = await made.execute(1)
        with pytest.raises(CodeMissing, match=r"not registered|deadlock") as told:
            await made.get_result(run, timeout=30)
        assert told.value.code == code
        await made.terminate(run)


async def test_a_class_whose_new_code_does_not_fit_stands_still_says_why_and_goes_on_with_the_old(
    settings: Settings,
) -> None:
    async with Orchestrator(settings) as orch:
        made = orch.create_workflow(works.Deployed)
        async with serving(settings, works.Deployed):
            run = await made.execute("to")
            assert await made.query(run, "heard") is None  # a worker has begun it
        async with serving(settings, works.DeployedAnew):
            with pytest.raises(CodeMissing, match=r"TMPRL1100.*Nondeterminism"):
                await made.query(run, "heard")
            await made.signal(run, "say", "be")
            with pytest.raises(CodeMissing, match=r"stands still.*TMPRL1100.*Nondeterminism") as told:
                await made.get_result(run, timeout=30)
            assert (told.value.code, told.value.ids["workflow"]) == ("code_missing", run.workflow_id)
            assert (await made.describe(run)).state == "running"
            with pytest.raises(CodeMissing, match="TMPRL1100"):  # now there is no worker that would answer
                await made.query(run, "heard")
            assert orch.metrics().active_workflows == 1
        async with serving(settings, works.Deployed), asyncio.timeout(60):
            while not orch.metrics().workflows.executions:  # noqa: ASYNC110 - it tells no event
                await asyncio.sleep(0.05)
            assert await made.get_result(run) == "to be"
            assert orch.metrics().workflows.errors == 0


async def test_a_mistake_of_the_interpreter_fails_no_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    took, mistakes = Interpreter._take, list[int]()

    def mistaken(self: Interpreter) -> None:
        if not mistakes:
            mistakes.append(1)
            raise ValueError("a mistake of a deployment")
        took(self)

    monkeypatch.setattr(Interpreter, "_take", mistaken)
    async with Orchestrator(settings) as orch, temporal_worker(works.asking, settings=settings, log="memory"):
        made = orch.create_workflow(works.asking)
        run = await made.execute(3)
        await made.signal(run, works.approval, value=True)
        assert await made.get_result(run, timeout=60) == "3 True"
        assert mistakes
