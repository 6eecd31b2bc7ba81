"""What every provider must do, as tests: subclass `ProviderContract` and say how yours is made.

    from beluga_stream.testing import ProviderContract

    class TestMine(ProviderContract):
        @pytest.fixture
        def make(self) -> ProviderFactory:
            return MyProvider

It needs pytest and no plugin. A provider that runs what is deployed elsewhere deploys
`beluga_stream.testing.contract_works` there. `patience` is how many seconds a test may take. Engines for workflows have
a suite of their own, `WorkflowContract`.
"""

import asyncio
from contextlib import aclosing
from dataclasses import fields
from typing import Any

import pytest

from ..api.features import Options
from ..api.provider import Provider, ProviderFactory, Runner
from ..api.signal import Signal
from ..api.work import Work
from ..application.clients.results import Chunk, Event, RunChanged
from ..errors import InvalidInput, RunFailed
from . import contract_works as works
from .played import Played

_KINDS = {"chain", "graph", "workflow"}


class ProviderContract(Played):
    """The tests. Each opens a provider of its own and closes it. What it does not run is skipped."""

    def test_it_is_a_provider(self, make: ProviderFactory, play: Any) -> None:
        async def test(provider: Provider) -> None:
            assert isinstance(provider, Provider)
            assert set(provider.kinds) <= _KINDS
            assert provider.kinds, "it runs chains, graphs or workflows: for those see WorkflowContract"
            for work in (works.counted, works.diamond):
                if kind_of(work) in provider.kinds:
                    assert isinstance(runner(provider, work), Runner)
            assert set(getattr(provider, "ignores", ())) <= {field.name for field in fields(Options)}

        play(test)

    def test_it_is_well(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            await provider.check()
            for work in (works.counted, works.diamond):
                if kind_of(work) in provider.kinds:
                    await runner(provider, work).check()

        play(test)

    @pytest.mark.parametrize(
        ("work", "given", "result"),
        [
            (works.counted, "  to be ", 2),
            (works.spelled, "to be", ["to", "be"]),
            (works.mended, "x", 3),
            (works.diamond, 1, 6),
            (works.both, 2, {"add_one": 3, "double": 4}),
            (works.nested, "to be", 4),
        ],
        ids=lambda value: value.name if isinstance(value, Work) else "",
    )
    def test_a_run_gives_its_result(self, play: Any, work: Work[Any, Any], given: Any, result: Any) -> None:
        async def test(provider: Provider) -> None:
            assert await runner(provider, work).invoke(given, signals={}) == result

        play(test)

    @pytest.mark.parametrize("work", [works.counted, works.diamond], ids=lambda work: work.name)
    def test_an_input_that_fails_its_type_is_refused(self, play: Any, work: Work[Any, Any]) -> None:
        async def test(provider: Provider) -> None:
            with pytest.raises(InvalidInput):
                await runner(provider, work).invoke({"no": "such thing"}, signals={})

        play(test)

    @pytest.mark.parametrize(
        ("work", "step"), [(works.broken, "breaks"), (works.hopeless, "wrong")], ids=["for good", "not worth a retry"]
    )
    def test_a_step_that_fails_fails_the_run(self, play: Any, work: Work[Any, Any], step: str) -> None:
        async def test(provider: Provider) -> None:
            with pytest.raises(RunFailed) as failed:
                await runner(provider, work).invoke("x", signals={})
            assert failed.value.reason == "execution_failed"
            assert (failed.value.ids.get("node"), failed.value.ids.get("attempt")) == (step, "1")

        play(test)

    def test_a_stream_tells_all_up_to_the_end(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            events = await all_of(provider, works.spelled, "to be")
            assert [event.value for event in events if isinstance(event, Chunk)] == ["to", "be"]
            assert ended(events) == "succeeded"

        play(test)

    def test_a_stream_of_a_run_that_fails_ends_with_that(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            assert ended(await all_of(provider, works.broken, "x")) == "failed"

        play(test)

    def test_a_stream_may_be_left(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            async with aclosing(runner(provider, works.endless).stream("x", signals={})) as events:
                await anext(events)
            assert await runner(provider, works.counted).invoke("a b", signals={}) == 2  # noqa: PLR2004 - two words

        play(test)

    def test_a_run_may_be_cancelled(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            task = asyncio.create_task(runner(provider, works.endless).invoke("x", signals={}))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await runner(provider, works.counted).invoke("a b", signals={}) == 2  # noqa: PLR2004 - two words

        play(test)

    def test_runs_at_once_do_not_mix(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            one = runner(provider, works.counted)
            given = ["a " * number for number in range(12)]
            assert await asyncio.gather(*(one.invoke(text, signals={}) for text in given)) == list(range(12))

        play(test)

    def test_signals_answer_waits(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            said = await runner(provider, works.asking).invoke("may I?", signals={works.answer: "yes"})
            assert said == "may I? yes"

        play(test)

    def test_a_signal_that_nothing_waits_for_is_refused(self, play: Any) -> None:
        async def test(provider: Provider) -> None:
            misspelt = Signal("contract-answr", str)
            with pytest.raises(InvalidInput, match="does not wait for signal 'contract-answr'"):
                await runner(provider, works.asking).invoke("may I?", signals={misspelt: "yes"})

        play(test)


def kind_of(work: Work[Any, Any]) -> str:
    """`chain` or `graph`."""
    return work.compile().definition.kind


def runner(provider: Provider, work: Work[Any, Any]) -> Runner:
    """The provider's runner; the test is skipped for a kind that the provider does not run."""
    if kind_of(work) not in provider.kinds:
        pytest.skip(f"it runs no {kind_of(work)}s")
    return provider.runner(work, Options())


async def all_of(provider: Provider, work: Work[Any, Any], value: Any) -> list[Event]:
    """Every event of a run."""
    async with aclosing(runner(provider, work).stream(value, signals={})) as events:
        return [event async for event in events]


def ended(events: list[Event]) -> str:
    """How a run ended: as its last event says, and no other."""
    assert events, "a run tells at least of its end"
    *before, last = events
    assert isinstance(last, RunChanged)
    assert last.ended
    assert not any(isinstance(event, RunChanged) and event.ended for event in before)
    return last.status
