"""A provider of another package: found by its entry point, held to the contract, and refused when it is broken."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import Defaults, Graph, Orchestrator
from beluga_stream.api.provider import ProviderFactory
from beluga_stream.errors import InvalidConfig, InvalidState, NotFound
from beluga_stream.testing import ProviderContract, WorkflowContract, contract_workflows

PACKAGE = Path(__file__).parent / "foreign"


def double(number: int) -> int:
    return number * 2


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package as pip would leave it: its modules and its metadata on the path."""
    monkeypatch.syspath_prepend(PACKAGE)
    import foreign_provider  # type: ignore[import-not-found]  # noqa: PLC0415 - it is on the path only now

    return foreign_provider


class TestForeign(ProviderContract):
    @pytest.fixture
    def make(self, installed: Any) -> ProviderFactory:
        factory: ProviderFactory = installed.DeskProvider
        return factory


@pytest.fixture
def halls(installed: Any) -> Iterator[Any]:
    """The package's engine for workflows."""
    import foreign_hall  # type: ignore[import-not-found]  # noqa: PLC0415 - see above

    yield foreign_hall
    foreign_hall.close_hall_of_all()


class TestForeignWorkflows(WorkflowContract):
    """An engine for workflows alone keeps the contract of those, and no other."""

    refuses = ("update",)

    @pytest.fixture
    def make(self, halls: Any) -> ProviderFactory:
        factory: ProviderFactory = halls.HallProvider
        return factory


async def test_an_engine_for_workflows_is_found_by_its_entry_point(halls: Any) -> None:
    async with Orchestrator(workflows=Defaults(provider="hall")) as orch:
        asking = orch.create_workflow(contract_workflows.asking, metadata={"owner": "tests"})
        run = await asking.execute("may I?", id="one")
        with pytest.raises(InvalidState):
            await asking.update(run, "anything")
        await asking.check()
        with pytest.raises(InvalidConfig, match="runs no chains, only workflows"):
            orch.create_chain(double, provider="hall")
    async with Orchestrator() as orch:
        asking = orch.create_workflow(contract_workflows.asking, provider="hall")
        await asking.signal("one", contract_workflows.answer, "yes")
        assert await asking.get_result("one", timeout=30) == "may I? yes"
        assert (await asking.describe("one")).metadata == {"owner": "tests"}


async def test_it_is_found_by_its_entry_point_and_runs_what_asks_for_it(installed: Any) -> None:
    async with Orchestrator(graphs=Defaults(provider="desk")) as orch:
        chain = orch.create_chain(double, provider="desk")
        graph = orch.create_graph("g", int, int)
        graph.set_finish_point(graph.add_node(chain, graph.input))
        assert (await chain.invoke(2), await graph.invoke(3)) == (4, 6)
        desk = orch._running.providers.opened["desk"]
        assert isinstance(desk, installed.DeskProvider)
        await orch.check()
        await chain.check()
        assert orch.metrics().executions == 2
    assert desk.closed


async def test_without_its_package_it_is_unknown() -> None:
    async with Orchestrator() as orch:
        with pytest.raises(NotFound, match="no provider 'desk'"):
            orch.create_graph("g", provider="desk")


async def test_one_that_does_not_load_says_why(installed: Any) -> None:
    async with Orchestrator() as orch:
        with pytest.raises(InvalidConfig, match="'gone' does not load: entry point 'foreign_provider:NoSuchThing'"):
            orch.create_graph("g", provider="gone")


async def test_a_given_one_goes_before_one_of_the_same_name(installed: Any) -> None:
    class Mine(installed.DeskProvider):  # type: ignore[misc]  # not installed for the type checker
        pass

    async with Orchestrator(providers={"desk": Mine, "local": Mine}) as orch:
        assert await orch.create_chain(double, provider="desk").invoke(1) == 2
        assert await orch.create_chain(double).invoke(1) == 2
        assert all(isinstance(one, Mine) for one in orch._running.providers.opened.values())


class NoRunner:
    kinds = ("chain",)

    async def check(self) -> None: ...

    async def aclose(self) -> None: ...


class OnlyChains(NoRunner):
    def runner(self, work: Any, options: Any) -> Any:
        return self


class NoWorkflow(OnlyChains):
    kinds = ("workflow",)


class OnlyStarts(NoWorkflow):
    def workflow(self, made: Any, options: Any) -> Any:
        return self

    async def start(self, value: Any, workflow_id: str) -> Any: ...


def needs_more(address: str) -> Any: ...


def lacks_region() -> Any:
    raise KeyError("REGION")


class Confused(NoRunner):
    def __init__(self) -> None:
        needs_more()  # type: ignore[call-arg]  # what the test is about


def says_itself() -> Any:
    raise InvalidConfig("it needs another package")


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (NoRunner, "a NoRunner, which lacks runner"),
        (object, "lacks kinds, runner, check, aclose"),
        (needs_more, "factory takes no arguments"),
        (lacks_region, "cannot be made: its factory raised KeyError: 'REGION'"),
        (Confused, "cannot be made: its factory raised TypeError: needs_more"),
        (says_itself, "^it needs another package"),
    ],
)
async def test_one_that_lacks_something_is_refused_with_what_it_lacks(factory: Any, told: str) -> None:
    async with Orchestrator(providers={"mine": factory}) as orch:
        with pytest.raises(InvalidConfig, match=told):
            orch.create_chain(double, provider="mine")


async def test_one_that_runs_no_graphs_is_refused_for_them_and_one_whose_runner_lacks_a_method_for_all() -> None:
    async with Orchestrator(providers={"mine": OnlyChains}) as orch:
        with pytest.raises(InvalidConfig, match="runs no graphs, only chains"):
            orch.create_graph("g", provider="mine")
        with pytest.raises(InvalidConfig, match="lacks invoke, stream"):
            await orch.create_chain(double, provider="mine").invoke(1)


async def test_one_that_runs_workflows_and_lacks_what_runs_them_is_refused() -> None:
    made = Graph[int, int]("durable", durable=True)
    made.set_finish_point(made.add_node(double, made.input))
    async with Orchestrator(providers={"none": NoWorkflow, "starts": OnlyStarts, "chains": OnlyChains}) as orch:
        with pytest.raises(InvalidConfig, match="a NoWorkflow, which lacks workflow: see the protocol"):
            orch.create_workflow(made, provider="none")
        lacks = "by a OnlyStarts, which lacks result, signal, query, update, cancel, terminate, describe: see"
        with pytest.raises(InvalidConfig, match=lacks):
            orch.create_workflow(made, provider="starts")
        with pytest.raises(InvalidConfig, match="runs no workflows, only chains"):
            orch.create_workflow(made, provider="chains")


async def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="small letters"):
        Orchestrator(providers={"My Provider": object})  # type: ignore[dict-item]  # what the test is about
