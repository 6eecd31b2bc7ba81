"""What every engine for workflows must do, as tests: subclass `WorkflowContract` and say how your provider is made.

    from beluga_stream.testing import WorkflowContract

    class TestMine(WorkflowContract):
        @pytest.fixture
        def make(self) -> ProviderFactory:
            return MyProvider

It needs pytest and no plugin. An engine that runs what is deployed elsewhere deploys
`beluga_stream.testing.contract_workflows` there. What the engine has no way to do it raises `InvalidState` for, and
`refuses` names it: some of `signal`, `query`, `update`, `cancel` and `terminate`. What one provider has begun the next
one that `make` gives must know: where workflows are kept is for the fixture to say.
"""

import asyncio
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any

import pytest

from ..api.features import WorkflowOptions
from ..api.provider import WorkflowProvider
from ..api.work import Work
from ..errors import BelugaError, InvalidConfig, InvalidInput, InvalidState, NotFound, RunFailed, TaskCanceled, TimedOut
from ..ports.workflow_runner import Started, WorkflowRunner
from . import contract_workflows as works
from .played import Play, Played

_SHORT_SECONDS = 1


class WorkflowContract(Played):
    """The tests. Each opens a provider of its own and closes it."""

    refuses: Collection[str] = ()

    def test_it_is_a_provider_of_workflows(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            assert isinstance(provider, WorkflowProvider)
            assert "workflow" in provider.kinds
            assert isinstance(runner(provider, works.asking), WorkflowRunner)

        play(test)

    def test_it_is_well(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            await provider.check()
            await runner(provider, works.asking).check()

        play(test)

    @pytest.mark.parametrize(
        ("work", "given", "result"),
        [(works.spelled, " to be ", ["to", "be"]), (works.nested, "to be", 4)],
        ids=["spelled", "nested"],
    )
    def test_a_workflow_gives_its_result_to_whoever_asks(
        self, play: Play, work: Work[Any, Any], given: Any, result: Any
    ) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, work)
            started = await one.start(given, chosen := new_id())
            assert started.workflow_id == chosen
            assert await one.result(started) == result
            assert await runner(provider, work).result(Started(chosen)) == result

        play(test)

    def test_workflows_at_once_do_not_mix(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.nested)
            started = [await one.start("a " * number, new_id()) for number in range(6)]
            assert await asyncio.gather(*map(one.result, started)) == [2 * number for number in range(6)]

        play(test)

    def test_a_node_that_fails_fails_the_workflow(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.broken)
            started = await one.start("x", new_id())
            with pytest.raises(RunFailed, match="gone") as failed:
                await one.result(started)
            assert failed.value.reason == "execution_failed"
            assert (failed.value.ids.get("node"), failed.value.ids.get("attempt")) == ("breaks", "1")
            assert (await one.describe(started)).state == "failed"

        play(test)

    def test_an_input_that_fails_its_type_begins_nothing(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one, chosen = runner(provider, works.asking), new_id()
            with pytest.raises(InvalidInput):
                await one.start({"no": "such thing"}, chosen)
            with pytest.raises(NotFound):
                await one.describe(Started(chosen))

        play(test)

    def test_an_id_is_taken_once(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one, chosen = runner(provider, works.nested), new_id()
            await one.start("to be", chosen)
            with pytest.raises(InvalidState, match="taken"):
                await one.start("not to be", chosen)
            assert await one.result(Started(chosen)) == 4  # noqa: PLR2004 - twice two words
            with pytest.raises(InvalidState, match="taken"):
                await one.start("not to be", chosen)

        play(test)

    def test_of_starts_at_once_by_one_id_one_begins(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one, chosen = runner(provider, works.nested), new_id()
            given = ["a " * number for number in range(1, 6)]
            starts = await asyncio.gather(*(one.start(each, chosen) for each in given), return_exceptions=True)
            (begun,) = [number for number, start in enumerate(starts, 1) if isinstance(start, Started)]
            assert [type(start) for start in starts if not isinstance(start, Started)] == [InvalidState] * 4
            assert await one.result(Started(chosen)) == 2 * begun

        play(test)

    def test_it_is_described_with_what_it_was_made_with(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless, metadata={"owner": "tests"}, description="waits")
            started = await one.start("x", new_id())
            described = await one.describe(started)
            assert (described.workflow_id, described.state) == (started.workflow_id, "running")
            assert (described.metadata, described.ended) == ({"owner": "tests"}, None)
            assert isinstance(described.started, datetime)

        play(test)

    def test_a_workflow_is_signalled_while_it_goes_on(self, play: Play) -> None:
        self._needs("signal")

        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.asking)
            started = await one.start(" may I? ", new_id())
            await one.signal(started, works.answer.name, works.answer.dump("yes"))
            assert await one.result(started) == "may I? yes"
            described = await one.describe(started)
            assert described.state == "succeeded"
            assert described.ended is not None
            with pytest.raises(NotFound):
                await one.signal(started, works.answer.name, "again")

        play(test)

    def test_who_waits_for_a_result_may_leave(self, play: Play) -> None:
        self._needs("signal")

        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.asking)
            started = await one.start("may I?", new_id())
            waiting = asyncio.create_task(one.result(started))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await one.signal(started, works.answer.name, "yes")
            assert await one.result(started) == "may I? yes"

        play(test)

    def test_what_a_provider_has_begun_goes_on_under_the_next_one(self, play: Play) -> None:
        chosen = new_id()

        async def begin(provider: WorkflowProvider) -> None:
            await runner(provider, works.asking).start("may I?", chosen)

        async def go_on(provider: WorkflowProvider) -> None:
            one = runner(provider, works.asking)
            assert (await one.describe(Started(chosen))).state == "running"
            if "signal" in self.refuses:
                return
            await one.signal(Started(chosen), works.answer.name, "yes")
            assert await one.result(Started(chosen)) == "may I? yes"

        play(begin)
        play(go_on)

    def test_a_query_tells_how_it_stands(self, play: Play) -> None:
        self._needs("query")

        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless)
            started = await one.start("x", new_id())
            stands = await one.query(started, "state", ())
            assert stands["status"] == "running"
            assert set(stands["nodes"]) <= {"forever"}
            with pytest.raises(NotFound):
                await one.query(started, "no-such-query", ())

        play(test)

    def test_a_query_tells_how_one_stood_that_has_ended(self, play: Play) -> None:
        self._needs("query")

        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.spelled)
            started = await one.start("to be", new_id())
            await one.result(started)
            stood = await one.query(started, "state", ())
            assert stood["status"] == "succeeded"
            assert set(stood["nodes"].values()) == {"succeeded"}

        play(test)

    def test_a_graph_has_no_updates(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless)
            started = await one.start("x", new_id())
            with pytest.raises(self._without("update")):
                await one.update(started, "no-such-update", ())

        play(test)

    @pytest.mark.parametrize(("end", "state"), [("cancel", "cancelled"), ("terminate", "terminated")])
    def test_a_workflow_is_ended_from_outside(self, play: Play, end: str, state: str) -> None:
        self._needs(end)

        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless)
            started = await one.start("x", new_id())
            await getattr(one, end)(started, "enough")
            with pytest.raises(TaskCanceled):
                await one.result(started)
            assert (await one.describe(started)).state == state
            with pytest.raises(NotFound):
                await getattr(one, end)(started, "again")

        play(test)

    def test_a_workflow_that_takes_too_long_is_ended(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless, timeout=_SHORT_SECONDS)
            started = await one.start("x", new_id())
            with pytest.raises(TimedOut):
                await one.result(started)
            assert (await one.describe(started)).state == "timed_out"

        play(test)

    @pytest.mark.parametrize("call", ["result", "signal", "query", "update", "cancel", "terminate", "describe"])
    def test_one_that_is_unknown_is_not_found(self, play: Play, call: str) -> None:
        async def test(provider: WorkflowProvider) -> None:
            with pytest.raises(self._without(call)):
                await asked(runner(provider, works.asking), call, Started(new_id()))

        play(test)

    def test_what_it_has_no_way_to_do_is_refused(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            one = runner(provider, works.endless)
            started = await one.start("x", new_id())
            for call in self.refuses:
                with pytest.raises(InvalidState):
                    await asked(one, call, started)

        play(test)

    def test_what_is_no_workflow_is_refused(self, play: Play) -> None:
        async def test(provider: WorkflowProvider) -> None:
            with pytest.raises(InvalidConfig):
                provider.workflow(NoWorkflow, WorkflowOptions())

        play(test)

    def _without(self, call: str) -> type[BelugaError]:
        """What is raised for want of what this call is for."""
        return InvalidState if call in self.refuses else NotFound

    def _needs(self, call: str) -> None:
        if call in self.refuses:
            pytest.skip(f"it has no way to {call}")


class NoWorkflow:
    """A class of which no engine can make a workflow."""


def runner(provider: WorkflowProvider, work: Work[Any, Any], **options: Any) -> WorkflowRunner:
    """The provider's runner of a graph, whose nodes have retries of their own."""
    return provider.workflow(work, WorkflowOptions(**{"timeout": None, "retries": 0} | options))


def new_id() -> str:
    """An id that no workflow has."""
    return secrets.token_hex(16)


async def asked(one: WorkflowRunner, call: str, started: Started) -> None:
    """Make this call."""
    given: dict[str, tuple[Any, ...]] = {
        "signal": (works.answer.name, "yes"),
        "query": ("state", ()),
        "update": ("no-such-update", ()),
        "cancel": ("enough",),
        "terminate": ("enough",),
    }
    await getattr(one, call)(started, *given.get(call, ()))
