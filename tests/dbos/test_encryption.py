"""Keys that come, go and change while workflows go on: nothing is lost by it, and whoever lacks one is told."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from beluga_stream import Graph, Orchestrator, Signal
from beluga_stream.adapters.crypto.aesgcm import AesGcm, parse_keys
from beluga_stream.adapters.dbos.keys import check_keys
from beluga_stream.adapters.dbos.serializer import JsonSerializer
from beluga_stream.bootstrap.encryption import new_line
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import KeyMissing, NotFound, Tampered
from beluga_stream.testing import contract_workflows as works
from tests.dbos.works import idle

K1, K2, ANOTHER_K1 = new_line("k1"), new_line("k2"), new_line("k1")


first, second = Signal("first", str), Signal("second", str)


def joined(text: str, one: str, two: str) -> str:
    return f"{text} {one} {two}"


twice = Graph[str, str]("dbos-twice", durable=True)
_one = twice.wait(first, after=twice.input, timeout=600)
twice.set_finish_point(twice.add_node(joined, twice.input, _one, twice.wait(second, after=_one, timeout=600)))


def cipher(*lines: str) -> AesGcm:
    return AesGcm(parse_keys(",".join(lines), "test"))


def orchestrator(folder: Path, keys: str | None) -> Orchestrator:
    return Orchestrator(Settings.load(dbos_database=str(folder / "dbos.sqlite"), encryption_keys=keys))


async def begun(folder: Path, keys: str | None) -> None:
    async with orchestrator(folder, keys) as orch:
        await orch.create_workflow(works.asking, provider="dbos", metadata={"owner": "sales"}).execute(
            "may I?", id="one"
        )


async def ended(folder: Path, keys: str | None) -> None:
    async with orchestrator(folder, keys) as orch:
        made = orch.create_workflow(works.asking, provider="dbos")
        await made.signal("one", works.answer, "yes")
        assert await made.get_result("one", timeout=60) == "may I? yes"
        assert (await made.describe("one")).metadata == {"owner": "sales"}


@pytest.mark.parametrize(("before", "after"), [(None, K1), (K1, f"{K2},{K1}")], ids=["turned on", "rotated"])
async def test_encryption_may_be_turned_on_and_rotated_while_workflows_go_on(
    tmp_path: Path, before: str | None, after: str
) -> None:
    await begun(tmp_path, before)
    await ended(tmp_path, after)


@pytest.mark.parametrize("without", [None, K2, ANOTHER_K1], ids=["no key", "another", "another of that id"])
async def test_without_its_key_nothing_begins_and_nothing_fails(tmp_path: Path, without: str | None) -> None:
    await begun(tmp_path, K1)
    async with orchestrator(tmp_path, without) as orch:
        other = orch.create_workflow(idle, provider="dbos")
        with pytest.raises(KeyMissing, match="key 'k1'"):
            await other.execute(3)
        with pytest.raises(KeyMissing, match="key 'k1'"):
            await orch.create_workflow(works.asking, provider="dbos").describe("one")
    await ended(tmp_path, K1)


async def test_what_was_written_later_counts_as_what_was_written_first(tmp_path: Path) -> None:
    """Its input is not sealed, and its journal is."""
    async with orchestrator(tmp_path, None) as orch:
        await orch.create_workflow(twice, provider="dbos").execute("a", id="two")
    async with orchestrator(tmp_path, K1) as orch:
        await orch.create_workflow(twice, provider="dbos").signal("two", first, "b")
    async with orchestrator(tmp_path, None) as orch:
        with pytest.raises(KeyMissing):
            await orch.create_workflow(twice, provider="dbos").signal("two", second, "c")
    async with orchestrator(tmp_path, K1) as orch:
        made = orch.create_workflow(twice, provider="dbos")
        await made.signal("two", second, "c")
        assert await made.get_result("two", timeout=60) == "a b c"


async def test_ended_workflows_whose_key_is_gone_keep_nobody_from_working(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await begun(tmp_path, K1)
    await ended(tmp_path, K1)
    async with orchestrator(tmp_path, None) as orch:
        made = orch.create_workflow(works.asking, provider="dbos")
        for asked in (made.get_result("one"), made.describe("one"), made.query("one")):
            with pytest.raises(KeyMissing, match="key 'k1'"):
                await asked
        with pytest.raises(NotFound, match="ended"):
            await made.signal("one", works.answer, "again")
        other = orch.create_workflow(idle, provider="dbos")
        assert await other.get_result(await other.execute(3), timeout=60) == 3
    assert not [record for record in caplog.records if "deserialized" in record.getMessage()]


def test_a_key_that_opens_some_values_is_the_right_one(tmp_path: Path) -> None:
    """One who alters a value harms its workflow, and not all that are in the file."""
    database = tmp_path / "dbos.sqlite"
    check_keys(database, None)
    good, gone = (JsonSerializer(cipher(key)).serialize("a word of mine") for key in (K1, K2))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE workflow_status (workflow_uuid TEXT, status TEXT, inputs TEXT)")
        rows = [("PENDING", altered(good)), ("ENQUEUED", f"{good[:-1]}!"), ("PENDING", good), ("SUCCESS", gone)]
        for number, row in enumerate(rows):
            connection.execute("INSERT INTO workflow_status VALUES (?, ?, ?)", (number, *row))
    check_keys(database, cipher(K1))
    with pytest.raises(KeyMissing, match="another of that id"):
        check_keys(database, cipher(ANOTHER_K1))


def altered(kept: str) -> str:
    data = bytearray(base64.b64decode(kept))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


def test_a_sealed_value_that_was_altered_is_told() -> None:
    serializer = JsonSerializer(cipher(K1))
    kept = serializer.serialize({"a": 1})
    assert serializer.deserialize(kept) == {"a": 1}
    for wrong in (altered(kept), f"{kept[:-6]}!", f"{kept[:20]}é"):
        with pytest.raises(Tampered):
            serializer.deserialize(wrong)
