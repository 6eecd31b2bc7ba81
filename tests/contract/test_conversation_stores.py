"""The ports for conversations, vectors and results, on every store that there is.

Redis is a real `redis-server` where one is installed, as in `.ci/run`, which demands it by BELUGA_REQUIRE_REDIS;
elsewhere it is fakeredis.
"""

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from beluga_stream.adapters.files.circuits import SharedCircuits
from beluga_stream.adapters.redis.store import RedisStore
from beluga_stream.adapters.sqlite.store import SQLiteStore
from beluga_stream.adapters.sqlite.vectors import SQLiteVectors
from beluga_stream.application.in_process.in_process import InProcessStore
from beluga_stream.domain.conversation import LONGEST_NAME, MOST_BYTES, Entry
from beluga_stream.errors import InvalidConfig, InvalidInput, StoreUnavailable

_REPO = Path(__file__).resolve().parents[2]
_KEEP = 5


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """A Redis of this module's own; None: there is no redis-server here."""
    program = shutil.which("redis-server")
    if program is None:
        assert "BELUGA_REQUIRE_REDIS" not in os.environ, "BELUGA_REQUIRE_REDIS is set, and there is no redis-server"
        yield None
        return
    port, folder = _free_port(), tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if "Ready to accept connections" in line:
                break
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


@pytest.fixture(params=["in process", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str | None) -> AsyncIterator[Any]:
    if request.param == "in process":
        yield InProcessStore(keep=_KEEP)
    elif request.param == "sqlite":
        yield SQLiteStore(tmp_path / "store.db", keep=_KEEP)
    elif redis_url is not None:
        async with RedisStore(redis_url, keep=_KEEP, prefix=f"t{time.monotonic_ns()}", forget=600) as store:
            yield store
    else:
        server = fakeredis.FakeServer()
        connect = lambda: fakeredis.FakeAsyncRedis(server=server)  # noqa: E731 - made anew for each loop
        async with RedisStore(keep=_KEEP, connect=connect, forget=600) as store:
            yield store


@pytest.fixture(params=["in process", "sqlite-vec"])
def vectors(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return InProcessStore(keep=_KEEP) if request.param == "in process" else SQLiteVectors(tmp_path / "v.db", keep=_KEEP)


async def test_turns_come_back_in_their_order(store: Any) -> None:
    assert await store.load("anna") == []
    for number in range(3):
        assert await store.append("anna", f"run-{number}", b"%d" % number)
    await store.append("ben", "run-0", b"ben's")
    found = await store.load("anna")
    assert [(one.turn, one.value) for one in found] == [("run-0", b"0"), ("run-1", b"1"), ("run-2", b"2")]
    assert found[0].place < found[1].place < found[2].place
    assert [one.value for one in await store.load("anna", last=2)] == [b"1", b"2"]
    assert [one.value for one in await store.load("anna", last=1, before=found[2].place)] == [b"1"]
    assert await store.load("anna", last=0) == []
    assert [one.value for one in await store.load("ben")] == [b"ben's"]


async def test_a_turn_is_kept_once_however_often_it_is_saved(store: Any) -> None:
    assert await store.append("anna", "run-1", b"first") is True
    assert await store.append("anna", "run-1", b"again") is False
    assert [one.value for one in await store.load("anna")] == [b"first"]
    added = await asyncio.gather(*(store.append("anna", "run-2", b"x") for _ in range(8)))
    assert sorted(added) == [False] * 7 + [True]
    assert len(await store.load("anna")) == 2


async def test_turns_that_come_at_once_are_all_kept(store: Any) -> None:
    assert all(await asyncio.gather(*(store.append("anna", f"run-{n}", b"%d" % n) for n in range(_KEEP))))
    assert sorted(one.value for one in await store.load("anna")) == [b"%d" % n for n in range(_KEEP)]


async def test_the_oldest_turns_go_first(store: Any) -> None:
    for number in range(_KEEP + 3):
        await store.append("anna", f"run-{number}", b"%d" % number)
    assert [one.value for one in await store.load("anna")] == [b"%d" % number for number in range(3, _KEEP + 3)]


async def test_facts_are_set_once_for_each_turn(store: Any) -> None:
    assert await store.get("anna") == {}
    assert await store.put("anna", "run-1", {"name": b"Anna", "town": b"Bonn"}) is True
    assert await store.put("anna", "run-2", {"town": b"Mainz"}) is True
    assert await store.put("anna", "run-1", {"town": b"Bonn"}) is False, "a late replay does not undo what came after"
    assert await store.get("anna") == {"name": b"Anna", "town": b"Mainz"}
    await store.put("anna", "run-3", {"town": None, "nothing": None})
    assert await store.get("anna") == {"name": b"Anna"}
    for number in range(4, 4 + 2 * _KEEP):
        assert await store.put("anna", f"run-{number}", {"count": b"%d" % number}) is True
    assert (await store.get("anna"))["count"] == b"%d" % (3 + 2 * _KEEP)


async def test_a_conversation_can_be_cleared(store: Any) -> None:
    await store.append("anna", "run-1", b"x")
    await store.put("anna", "run-1", {"name": b"Anna"})
    await store.append("ben", "run-1", b"y")
    await store.clear("anna")
    await store.clear("nobody")
    assert (await store.load("anna"), await store.get("anna")) == ([], {})
    assert len(await store.load("ben")) == 1
    assert await store.append("anna", "run-1", b"x") is True


async def test_what_is_too_large_is_refused(store: Any) -> None:
    for conversation, turn in (
        ("", "run"),
        ("anna", ""),
        ("x" * (LONGEST_NAME + 1), "run"),
        ("\ud800", "run"),
        (None, "run"),
        (1, "run"),
    ):
        with pytest.raises(InvalidInput):
            await store.append(conversation, turn, b"x")
    with pytest.raises(InvalidInput, match="1,048,577 bytes"):
        await store.append("anna", "run", b"x" * (MOST_BYTES + 1))
    with pytest.raises(InvalidInput):
        await store.put("anna", "run", {"name": b"x" * (MOST_BYTES + 1)})
    assert (await store.load("anna"), await store.get("anna")) == ([], {})
    assert await store.append("ü{}:*?' %_" * 20, "run", b"\x00\xff" * (MOST_BYTES // 2))


async def test_results_are_kept_for_their_time(store: Any) -> None:
    assert await store.fetch("key") is None
    await store.keep("key", b"one", 600)
    await store.keep("key", b"two", 600)
    assert await store.fetch("key") == b"two"
    await store.keep("short", b"gone", 0.001)
    async with asyncio.timeout(10):
        while await store.fetch("short") is not None:  # noqa: ASYNC110 - nobody tells when a time is over
            await asyncio.sleep(0.001)
    with pytest.raises(InvalidInput):
        await store.keep("large", b"x" * (MOST_BYTES + 1), 600)


async def test_the_most_alike_are_found_first(vectors: Any) -> None:
    assert await vectors.search("anna", [1, 0], 3) == []
    for name, vector in (("east", [1, 0]), ("north", [0, 5]), ("north-east", [1, 1]), ("nowhere", [0, 0])):
        assert await vectors.add("anna", name, vector, name.encode()) is True
    assert await vectors.add("anna", "east", [0, 1], b"again") is False
    await vectors.add("ben", "east", [1, 0, 0], b"ben's, of another size")
    assert await vectors.search("anna", [3, 0], 2) == [b"east", b"north-east"]
    assert await vectors.search("anna", [0.1, 1], 3) == [b"north", b"north-east", b"east"]
    await vectors.clear("anna")
    assert await vectors.search("anna", [1, 0], 3) == []


async def test_the_oldest_vectors_go_first(vectors: Any) -> None:
    for number in range(_KEEP + 2):
        await vectors.add("anna", str(number), [1, number], b"%d" % number)
    assert set(await vectors.search("anna", [1, 0], 100)) == {b"%d" % number for number in range(2, _KEEP + 2)}


async def test_a_vector_of_another_size_is_refused(vectors: Any) -> None:
    await vectors.add("anna", "one", [1, 0], b"x")
    for bad in ([1, 0, 0], [], [float("nan"), 1], [float("inf"), 1], [1e300, 1], [10**400, 1], ["x", 1], None):
        with pytest.raises(InvalidInput, match="embed"):
            await vectors.add("anna", "two", bad, b"x")
        with pytest.raises(InvalidInput, match="embed"):
            await vectors.search("anna", bad, 1)
    assert await vectors.search("anna", [1, 0], 9) == [b"x"]


@pytest.fixture
def redis(redis_url: str | None, request: pytest.FixtureRequest) -> Any:
    """Makes stores of this test in the Redis of this module."""
    if redis_url is not None:
        return partial(RedisStore, redis_url, prefix=request.node.name)
    server = fakeredis.FakeServer()
    return partial(RedisStore, connect=lambda: fakeredis.FakeAsyncRedis(server=server, max_connections=1_000))


async def test_many_use_redis_at_once(redis: Any) -> None:
    """Of one conversation and of many, more of them than there are connections."""
    async with redis() as store:
        assert all(await asyncio.gather(*(store.append("hot", f"run-{n}", b"x") for n in range(300))))
        assert all(await asyncio.gather(*(store.put("hot", f"run-{n}", {"x": b"x"}) for n in range(300))))
        assert all(await asyncio.gather(*(store.append(f"user-{n}", "run", b"x") for n in range(300))))
        assert len(await store.load("hot")) == 300
        found = await asyncio.gather(*(store.load("hot", last=1) for _ in range(300)))
        assert {len(one) for one in found} == {1}


async def test_each_use_puts_off_the_end_of_a_whole_conversation_in_redis(redis: Any) -> None:
    async with redis(forget=600) as store:
        await store.append("anna", "run-1", b"x")
        await store.put("anna", "run-1", {"name": b"Anna"})
        keys = store._keys("anna")

        async def put_off(use: Awaitable[object]) -> bool:
            for key in keys:
                await store._client().expire(key, 5)
            await use
            return all([await store._client().ttl(key) > 500 for key in keys])

        assert await put_off(store.load("anna"))
        assert await put_off(store.load("anna", last=0))
        assert await put_off(store.get("anna"))
        assert await put_off(store.append("anna", "run-2", b"x"))
        assert await put_off(store.append("anna", "run-2", b"again"))
        assert await put_off(store.put("anna", "run-2", {"name": None, "town": b"Bonn"}))
        assert await put_off(store.put("anna", "run-2", {"town": b"again"}))
        assert (await store.get("anna"), len(await store.load("anna"))) == ({"town": b"Bonn"}, 2)
    async with redis() as store:
        await store.append("ben", "run-1", b"x")
        assert await store._client().ttl(store._keys("ben")[0]) == -1, "it is kept for good"


_WRITER = """
import asyncio, sys
from beluga_stream.adapters.sqlite.store import SQLiteStore

async def main(path, name):
    store = SQLiteStore(path)
    for number in range(30):
        await store.append("anna", f"shared-{number}", name.encode())
        await store.append("anna", f"{name}-{number}", name.encode())

asyncio.run(main(*sys.argv[1:]))
"""

_HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
database.close()
"""


async def _loaded(store: SQLiteStore) -> Sequence[Entry]:
    return await store.load("anna")


def test_processes_share_a_file_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    environ = {**os.environ, "PYTHONPATH": str(_REPO)}
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], env=environ) for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    turns = [one.turn for one in asyncio.run(_loaded(SQLiteStore(path)))]
    assert len(turns) == len(set(turns)) == 30 * 4
    assert [turn for turn in turns if turn.startswith("a-")] == [f"a-{number}" for number in range(30)]


async def test_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    async with RedisStore(f"redis://:secret@127.0.0.1:{_free_port()}") as away:
        calls = [away.append("a", "b", b""), away.load("a"), away.put("a", "b", {}), away.get("a"), away.clear("a")]
        for call in [*calls, away.fetch("a"), away.keep("a", b"", 1)]:
            with pytest.raises(StoreUnavailable, match=r"RedisStore\('127.0.0.1:\d+'\) does not answer") as caught:
                await call
            assert (caught.value.code, caught.value.retryable) == ("dependency_failed", True)
            assert "secret" not in str(caught.value)
    for store in (SQLiteStore(tmp_path / "no" / "folder.db"), SQLiteVectors(tmp_path / "no" / "vectors.db")):
        with pytest.raises(StoreUnavailable, match=r"(folder|vectors)\.db'\) does not answer"):
            await store.clear("a")


def test_a_store_in_redis_never_tells_its_password() -> None:
    for url in ("redis://h:1/0?password=secret", "redis://u:secret@h:1", "unix:///redis.sock?password=secret"):
        assert "secret" not in repr(RedisStore(url))
    with pytest.raises(InvalidConfig) as caught:
        RedisStore("http://u:secret@h:1")
    assert "secret" not in str(caught.value)


async def test_a_file_that_was_damaged_is_away_and_worth_another_attempt(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    await SQLiteStore(path).append("anna", "1", b"x" * 5_000)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)  # all but the first page
    path.write_bytes(data)
    with pytest.raises(StoreUnavailable, match=r"damaged\.db'\) does not answer"):
        await SQLiteStore(path).load("anna")


async def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    for name in ("text.db", "vectors.db"):
        (tmp_path / name).write_text("no database, and long enough to look like one" * 100)
    for store in (SQLiteStore(tmp_path / "text.db"), SQLiteVectors(tmp_path / "vectors.db")):
        with pytest.raises(InvalidConfig, match=r"(text|vectors)\.db'\) is no database"):
            await store.clear("a")
    later = SQLiteStore(tmp_path / "later.db")
    await later.clear("a")
    await later._do(lambda database: database.execute("UPDATE beluga_schema SET version = 7"))
    with pytest.raises(InvalidConfig, match="of version 7, and this engine knows version 1"):
        await SQLiteStore(tmp_path / "later.db").get("a")


async def test_vectors_have_a_file_of_their_own_in_each_process(tmp_path: Path) -> None:
    """Two SQLites in one process do not see each other's locks: the turns that come last would be lost."""
    (tmp_path / "link.db").symlink_to(tmp_path / "turns.db")
    turns = SQLiteStore(tmp_path / "turns.db")
    await turns.append("anna", "1", b"turn")
    SharedCircuits(tmp_path / "circuits.db")
    for name in ("turns.db", "link.db", "circuits.db"):
        with pytest.raises(InvalidConfig, match=rf"{name}: vectors .* give SQLiteVectors a file of its own"):
            await SQLiteVectors(tmp_path / name).add("anna", "1", [1], b"vector")
    await SQLiteVectors(tmp_path / "vectors.db").add("anna", "1", [1], b"vector")
    with pytest.raises(InvalidConfig, match=r"vectors\.db: vectors"):
        await SQLiteStore(tmp_path / "vectors.db").load("anna")
    with pytest.raises(InvalidConfig, match=r"vectors\.db: vectors"):
        SharedCircuits(tmp_path / "vectors.db")
    await turns.append("anna", "2", b"turn")
    assert [one.turn for one in await turns.load("anna")] == ["1", "2"]
    assert (tmp_path / "turns.db-wal").exists(), "nobody has closed the file"


async def test_a_file_that_holds_turns_and_vectors_is_read_by_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "both.db"
    await SQLiteVectors(path).add("anna", "1", [1], b"vector")
    environ = {**os.environ, "PYTHONPATH": str(_REPO)}
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER, str(path), "a", env=environ)
    assert await asyncio.wait_for(writer.wait(), 60) == 0
    assert await SQLiteVectors(path).search("anna", [1], 1) == [b"vector"]
    shutil.copy(path, tmp_path / "copy.db")
    assert len(await SQLiteStore(tmp_path / "copy.db").load("anna")) == 60


async def test_an_error_of_the_caller_keeps_the_connection(tmp_path: Path) -> None:
    vectors = SQLiteVectors(tmp_path / "v.db")
    await vectors.add("anna", "1", [1, 0], b"x")
    before = vectors._held._connection
    with pytest.raises(InvalidInput):
        await vectors.search("anna", [1], 1)
    assert await vectors.add("anna", "2", [1, 0], b"x") is True
    assert vectors._held._connection is before


@pytest.mark.parametrize("kind", ["turns", "vectors"])
async def test_calls_wait_side_by_side_for_who_holds_a_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"beluga_stream.adapters.sqlite.{'store' if kind == 'turns' else 'vectors'}.BUSY_SECONDS", 0.5)
    path = tmp_path / "locked.db"
    store = SQLiteStore(path) if kind == "turns" else SQLiteVectors(path)
    await store.clear("anna")
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", _HOLDER, str(path), stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    began = time.monotonic()
    found = await asyncio.gather(*(store.clear("anna") for _ in range(8)), return_exceptions=True)
    assert time.monotonic() - began < 2
    assert [type(one) for one in found] == [StoreUnavailable] * 8
    assert "nobody at it for longer than 0.5 s" in str(found[-1])
    await asyncio.wait_for(holder.communicate(b"\n"), 10)
    await store.clear("anna")


async def test_bounds_are_checked(tmp_path: Path) -> None:
    wrong: Any = 5.5
    for make in (
        lambda: InProcessStore(keep=0),
        lambda: SQLiteStore(tmp_path / "x", results=0),
        lambda: SQLiteStore(":memory:"),
        lambda: SQLiteVectors(tmp_path / "x", keep=0),
        lambda: RedisStore(forget=0),
        lambda: RedisStore("here"),
        lambda: RedisStore(wrong),
        lambda: RedisStore(forget=0.5),  # type: ignore[arg-type]
        *(lambda make=make: make(keep=wrong) for make in (InProcessStore, RedisStore)),
        *(lambda make=make: make(tmp_path / "x", keep=wrong) for make in (SQLiteStore, SQLiteVectors)),
        lambda: InProcessStore(results=wrong),
    ):
        with pytest.raises(InvalidConfig):
            make()


async def test_what_was_not_used_for_longest_is_forgotten_in_process() -> None:
    store = InProcessStore(conversations=2, results=2)
    for name in ("anna", "ben", "anna", "carl"):
        await store.append(name, "1", b"x")
        await store.keep(name, b"x", 600)
    assert [len(await store.load(name)) for name in ("anna", "carl")] == [1, 1]
    assert await store.load("ben") == []
    assert [await store.fetch(name) is None for name in ("anna", "ben", "carl")] == [False, True, False]


async def test_results_of_sqlite_are_bounded(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db", results=2)
    for number in range(4):
        await store.keep(str(number), b"x", 600 + number)
    assert [await store.fetch(str(number)) is None for number in range(4)] == [True, True, False, False]
