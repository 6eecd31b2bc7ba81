"""Values of every type arrive as they were sent, or are refused where they come from."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Json, SecretStr, computed_field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from beluga_stream import Graph, Retry, chain, node
from beluga_stream.api.adapter import adapter_of, schema_of
from beluga_stream.application.schemas import Schema
from beluga_stream.errors import BelugaError, InvalidGraph, InvalidInput, NotSerializable, RunFailed


class Renamed(BaseModel):
    """Each field has another name outside, and not always the same for reading and writing."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(alias="docId")
    language: str = Field("en", alias="lang")
    size: int = Field(0, serialization_alias="bytes")
    title: str = Field("", validation_alias=AliasChoices("name", "heading"))


async def keep(doc: Renamed) -> Renamed:
    return doc


async def test_fields_with_aliases_arrive() -> None:
    doc = Renamed.model_validate({"docId": "7", "lang": "fr", "size": 3, "heading": "On whales"})
    assert await chain(keep, keep, keep).invoke(doc) == doc
    from_outside: Any = {"docId": "7", "name": "On whales"}
    assert (await chain(keep, keep).invoke(from_outside)).title == "On whales"


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    doc_id: str
    parts: "list[Camel]" = []


@dataclass
class Point:
    x: int = Field(alias="X")


class Doubled(BaseModel):
    """It writes a field that it does not take."""

    model_config = ConfigDict(extra="forbid")

    value: int
    numbers: Json[list[int]] = []

    @computed_field
    def twice(self) -> int:
        return 2 * self.value


@pytest.mark.parametrize(
    ("value", "travels_as"),
    [
        (Renamed.model_validate({"docId": "7"}), {"id": "7", "language": "en", "size": 0, "title": ""}),
        (Camel.model_validate({"docId": "7"}), {"docId": "7", "parts": []}),
        (Camel.model_validate({"docId": "7", "parts": [{"docId": "8"}]}), None),
        (Point(X=3), {"X": 3}),
        (Doubled(value=2, numbers="[1, 2]"), {"value": 2, "numbers": "[1,2]"}),
    ],
)
async def test_a_value_goes_by_names_that_it_is_read_by(value: object, travels_as: object) -> None:
    adapter = adapter_of(type(value), "graph", "node", "the input")
    json = adapter.dump_python(value, mode="json")
    assert travels_as in (None, json)
    assert adapter.validate_python(json) == value
    assert Schema(schema_of(adapter)).misfit(json) is None
    assert Schema(schema_of(adapter, "serialization")).misfit(json) is None


async def test_a_stream_of_such_values_arrives() -> None:
    async def each(doc: Renamed) -> Any:
        yield doc

    async def first(docs: list[Renamed]) -> Renamed:
        return docs[0]

    doc = Renamed.model_validate({"docId": "7"})
    graph = Graph[Renamed, Renamed]("streams")
    graph.set_finish_point(graph.add_node(first, graph.add_node(each, graph.input)))
    assert await graph.invoke(doc) == doc


def test_a_secret_would_arrive_as_asterisks_and_is_refused() -> None:
    class Login(BaseModel):
        password: SecretStr

    async def log_in(login: Login) -> str:
        return login.password.get_secret_value()

    with pytest.raises(InvalidGraph, match=r"a secret becomes asterisks.*a @resource"):
        chain(log_in).compile()


@pytest.mark.parametrize("value", [2**70, "\ud800", b"\xff"])
async def test_what_no_record_can_carry_fails_here_too(value: object) -> None:
    async def give(number: int) -> Any:
        return value

    def in_a_thread(number: int) -> Any:
        return value

    async def keep(given: Any) -> Any:
        return given

    for step in (give, in_a_thread):
        graph = Graph[int, Any]("graph")
        graph.set_finish_point(graph.add_node(keep, graph.add_node(step, graph.input)))
        for work in (chain(step, keep), graph):
            with pytest.raises(RunFailed, match="cannot become JSON") as failed:
                await work.invoke(1)
            assert (failed.value.reason, failed.value.ids["attempt"]) == ("invalid_input", "1")


async def test_what_json_does_not_have_arrives_as_it_would_elsewhere() -> None:
    async def give(number: int) -> Any:
        return [float("nan"), float("inf"), (1, 2)]

    async def keep(given: Any) -> Any:
        return given

    assert await chain(give, keep).invoke(1) == [None, None, [1, 2]]


def _deep(levels: int) -> object:
    found: object = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("value", [object(), b"\xff", _deep(400)])
async def test_an_input_that_cannot_become_json_is_refused(value: object) -> None:
    async def keep(given: Any) -> Any:
        return given

    graph = Graph[Any, Any]("graph")
    graph.set_finish_point(graph.add_node(keep, graph.input))
    for work in (chain(keep), graph):
        with pytest.raises(NotSerializable, match=r"the input of graph '(keep|graph)' cannot become JSON"):
            await work.invoke(value)


async def test_a_result_of_another_type_than_was_declared_is_told_with_the_graph() -> None:
    def wrong(given: Any) -> Any:
        return "abc"

    graph = Graph[int, int]("graph")
    graph.set_finish_point(graph.add_node(wrong, graph.input))
    with pytest.raises(InvalidGraph, match=r"graph 'graph' gave another result than it declares: .*integer") as told:
        await graph.invoke(1)
    assert told.value.ids["graph"] == "graph"


async def test_a_failed_run_names_what_was_raised() -> None:
    @node(retry=Retry(1))
    async def fail(number: int) -> int:
        raise LookupError("no whale")

    @node(retry=Retry(1))
    def fail_in_a_thread(number: int) -> int:
        raise LookupError("no whale")

    def inside(step: Callable[..., Any]) -> Graph[int, int]:
        graph = Graph[int, int]("inside")
        graph.set_finish_point(graph.add_node(step, graph.input))
        return graph

    for step in (fail, fail_in_a_thread):
        for work in (chain(step), inside(step), chain(inside(step), name="outside")):
            with pytest.raises(RunFailed) as failed:
                await work.invoke(1)
            cause = failed.value.__cause__
            assert isinstance(cause, LookupError)
            assert cause.__traceback__ is not None
    with pytest.raises(BelugaError) as refused:
        await chain(fail).invoke("x")  # type: ignore[arg-type]  # what is tried
    assert isinstance(refused.value, InvalidInput)


async def test_a_group_of_exceptions_is_told_and_judged_by_what_is_in_it() -> None:
    calls: list[int] = []

    @node(retry=Retry(3, first=0, on=(ConnectionError,)))
    async def together(number: int) -> int:
        calls.append(number)
        raise ExceptionGroup("two calls", [ConnectionError("away"), ConnectionError("gone")])

    with pytest.raises(RunFailed, match="ConnectionError: away; ConnectionError: gone") as failed:
        await chain(together).invoke(1)
    assert isinstance(failed.value.__cause__, ExceptionGroup)
    assert len(calls) == 3

    @node(retry=Retry(3, first=0))
    async def wrong(number: int) -> int:
        calls.append(number)
        raise ExceptionGroup("one bug", [ConnectionError("away"), TypeError("no number")])

    calls.clear()
    with pytest.raises(RunFailed, match="TypeError: no number"):
        await chain(wrong).invoke(1)
    assert len(calls) == 1, "another attempt cannot help where one of them is of our own making"


async def test_a_function_that_forgets_its_return_is_told_that_it_gave_none() -> None:
    def forgets(text: str) -> str:
        text.upper()  # type: ignore[return]  # the point

    def gives_another(text: str) -> int:
        return text  # type: ignore[return-value]  # the point

    with pytest.raises(RunFailed, match="Input should be a valid string, and it is None"):
        await chain(forgets).invoke("x")
    with pytest.raises(RunFailed) as failed:
        await chain(gives_another).invoke("a secret")
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("run", ["invoke", "graph"])
async def test_what_a_node_cannot_take_is_told_with_its_name_once(run: str) -> None:
    def untyped(text: str) -> Any:
        return {"text": text}

    def counts(number: int) -> int:
        return number

    work = chain(untyped, counts)
    if run == "graph":
        work = Graph[str, int]("counted")
        work.set_finish_point(work.add_node(counts, work.add_node(untyped, work.input)))
    with pytest.raises(RunFailed, match=r"failed: counts: the value for 'number' does not fit its type: Input should"):
        await work.invoke("x")
