"""What a sweep removes and what it keeps, with the stores that there are; and when it sweeps at all."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.clients.snapshot import rows
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator import early
from beluga_stream.application.coordinator.sweeping import Sweeper, Swept
from beluga_stream.bootstrap import sweeping as bootstrap
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import Parent, RunRequested, SignalReceived
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Gathered, Inline, Paged, Payload, Picked, Stored
from beluga_stream.domain.references import references
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus, Signalled
from beluga_stream.errors import InvalidConfig, LogUnavailable, NotFound, UnknownVersion
from beluga_stream.ports.blobs import SweptBlobs
from beluga_stream.ports.log import Outgoing, TopicSpec

HOUR = 3_600_000
NOW = time.time_ns() // 1_000_000
RETENTION, EVERY = 168 * HOUR, 24 * HOUR
KEPT = RETENTION + 2 * EVERY


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stored(ref: str) -> Stored:
    return Stored(ref, 100_000)


def run_with(run: str = "r", status: RunStatus = RunStatus.RUNNING, **changes: Any) -> RunState:
    known: dict[str, Any] = {"run": RunId(run), "key": run, "graph": "g", "digest": "d", "trigger": "api"}
    return RunState(**known, status=status, started_ms=1, **changes)


@dataclass
class Table:
    """The rows that a sweeper reads; `fails` in the midst of them."""

    rows: dict[str, bytes | None] = field(default_factory=dict)
    fails: bool = False

    def put(self, *states: RunState) -> None:
        self.rows.update((str(state.run), codec.kept.encode(Kept(state))) for state in states)

    async def __call__(self) -> AsyncIterator[Sequence[tuple[str, bytes | None]]]:
        for row in self.rows.items():
            yield [row]
        if self.fails:
            raise LogUnavailable("the broker is gone")


class StillClock:
    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps")


@dataclass
class Store:
    """A store of blobs whose age a test decides."""

    blobs: SweptBlobs
    folder: Path | None = None

    async def put(self, owner: str, age_ms: int) -> str:
        ref = await self.blobs.put(owner, owner.encode())
        self.age(ref, age_ms)
        return ref

    def age(self, ref: str, age_ms: int) -> None:
        if self.folder is not None:
            os.utime(self.folder / ref, (0, (NOW - age_ms) / 1000))
        else:
            assert isinstance(self.blobs, MemoryBlobs)
            self.blobs._new_ms[ref] = NOW - age_ms

    async def has(self, ref: str) -> bool:
        try:
            await self.blobs.get(ref)
        except NotFound:
            return False
        return True


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return Store(MemoryBlobs(StillClock()))
    return Store(FileBlobs(str(tmp_path / "blobs")), tmp_path / "blobs")


def sweeper(store: Store, table: Table) -> Sweeper:
    return Sweeper(store.blobs, table, retention_ms=RETENTION, every_ms=EVERY)


async def test_only_what_is_old_and_named_by_nobody_goes(store: Store) -> None:
    table = Table()
    named = await store.put("named", KEPT + HOUR)
    young = await store.put("young", KEPT - HOUR)
    old = await store.put("old", KEPT + HOUR)
    page = await store.put("r.m[0:64]/2", KEPT + HOUR)
    table.put(run_with(input=stored(named)))
    assert await sweeper(store, table).sweep(NOW) == Swept(named=1, removed=2)
    assert [await store.has(ref) for ref in (named, young, old, page)] == [True, True, False, False]
    if store.folder is not None:
        assert names_in(store.folder) == ["named", "young"]  # no empty folders


async def test_what_is_named_no_more_stays_for_as_long_as_a_record_may_name_it(store: Store) -> None:
    """However old it is: a run of a month ends, and its last status names what its first day gave."""
    table = Table()
    ref = await store.put("r", 30 * EVERY)
    table.put(run_with(input=stored(ref)))
    await sweeper(store, table).sweep(NOW)
    table.rows["r"] = None
    store.age(ref, KEPT - HOUR)  # so long after that sweep
    assert (await sweeper(store, table).sweep(NOW)).removed == 0
    store.age(ref, KEPT + HOUR)
    assert (await sweeper(store, table).sweep(NOW)).removed == 1


async def test_what_is_stored_again_counts_as_new(store: Store) -> None:
    """A start under an old run's key may have its input, too."""
    ref = await store.put("r", KEPT + HOUR)
    again = await store.blobs.put("r", b"r")
    assert again == ref
    assert await store.blobs.delete([ref], NOW - KEPT) == 0
    assert await store.has(ref)


async def test_a_table_that_cannot_be_read_whole_removes_nothing(store: Store) -> None:
    old = await store.put("old", KEPT + HOUR)
    with pytest.raises(LogUnavailable):
        await sweeper(store, Table(fails=True)).sweep(NOW)
    unknown = Table({"r": b'{"v":2,"state":{}}'})
    with pytest.raises(UnknownVersion):
        await sweeper(store, unknown).sweep(NOW)
    assert await store.has(old)


async def test_what_is_gone_already_is_no_matter(store: Store) -> None:
    await store.blobs.touch(["no/such"])
    assert await store.blobs.delete(["no/such"], NOW) == 0
    assert [refs async for refs in store.blobs.older(NOW) if refs] == []


async def test_leftovers_of_a_process_that_died_while_it_wrote_go_too(tmp_path: Path) -> None:
    store = Store(FileBlobs(str(tmp_path)), tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / ".0a1b2c").write_bytes(b"half")
    store.age("r/.0a1b2c", KEPT + HOUR)
    assert (await sweeper(store, Table()).sweep(NOW)).removed == 1
    assert names_in(tmp_path) == []


async def test_a_store_that_is_no_folder_is_swept_too() -> None:
    blobs = FileBlobs("memory://swept")
    store = Store(blobs)
    refs = [await blobs.put(owner, owner.encode()) for owner in ("named", "old")]
    table = Table()
    table.put(run_with(input=stored(refs[0])))
    ages_later = NOW * 2
    assert (await sweeper(store, table).sweep(ages_later)).removed == 1
    assert [await store.has(ref) for ref in refs] == [True, False]


class SlowFiles(MemoryFileSystem):
    """Answers no more than sixty requests within one of our timeouts: it counts those of each call in a thread."""

    protocol = "slowfs"
    calls = 0

    def modified(self, path: str) -> Any:
        self._answer()
        return super().modified(path)

    def cat_file(self, path: str, *more: Any, **options: Any) -> Any:
        self._answer()
        return super().cat_file(path, *more, **options)

    def _answer(self) -> None:
        SlowFiles.calls += 1
        if SlowFiles.calls > 60:
            raise TimeoutError


async def test_a_slow_store_is_swept_some_objects_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("slowfs", SlowFiles, clobber=True)
    call_in_thread = asyncio.to_thread

    async def counted(*call: Any, **named: Any) -> Any:
        SlowFiles.calls = 0
        return await call_in_thread(*call, **named)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    blobs = FileBlobs("slowfs://bucket")
    refs = [await blobs.put(f"run{number}", b"data") for number in range(130)]
    await blobs.touch(refs)
    later = NOW * 2
    found = [ref async for some in blobs.older(later) for ref in some]
    assert sorted(found) == sorted(refs)
    assert await blobs.delete(refs, later) == 130


class StrictFiles(MemoryFileSystem):
    """Takes no option that it does not know, as s3fs."""

    protocol = "strictfs"

    def __init__(self) -> None:
        super().__init__()


async def test_a_store_gets_no_option_that_is_another_stores() -> None:
    fsspec.register_implementation("strictfs", StrictFiles, clobber=True)
    blobs = FileBlobs("strictfs://bucket")
    assert await blobs.get(await blobs.put("run", b"data")) == b"data"


def test_a_store_whose_package_is_missing_is_named_in_one_line() -> None:
    fsspec.register_implementation("farfs", "no_such_package.Files", errtxt="Install farfs to go there", clobber=True)
    for url, said in (("farfs://user:secret@there", "Install farfs to go there"), ("nofs://x", "not known: nofs")):
        with pytest.raises(InvalidConfig, match=rf"^BELUGA_BLOBS=\w+://\.\.\. cannot be used: .*{said}") as wrong:
            FileBlobs(url)
        assert "secret" not in str(wrong.value)


async def test_a_folder_may_vanish_while_something_is_stored_in_it(tmp_path: Path) -> None:
    store = Store(FileBlobs(str(tmp_path)), tmp_path)

    async def sweep() -> None:
        await sweeper(store, Table()).sweep(2 * NOW)  # then everything is old

    puts = (store.blobs.put(f"owner-{number % 3}", str(number).encode()) for number in range(200))
    await asyncio.gather(*puts, *(sweep() for _ in range(30)))
    await sweep()
    assert names_in(tmp_path) == []


PAYLOADS: list[tuple[Payload, list[str]]] = [
    (Inline({"kind": "stored", "ref": "a user's value"}), []),
    (stored("a"), ["a"]),
    (Gathered((Inline(1), stored("a"), stored("b")), ("x", "y", "z")), ["a", "b"]),
    (Paged((stored("a"), Gathered((stored("b"),))), 2), ["a", "b"]),
    (Picked(stored("a"), 3), ["a"]),
]


@pytest.mark.parametrize(("payload", "expected"), PAYLOADS, ids=lambda value: type(value).__name__)
def test_every_reference_is_found_wherever_it_is(payload: Payload, expected: list[str]) -> None:
    node = NodeState(NodeStatus.SUCCEEDED)
    signal = SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="s", id="1", value=payload)
    request = RunRequested(
        run=RunId("r"),
        key="r",
        at_ms=1,
        graph="g",
        digest="d",
        input=payload,
        parent=Parent(RunId("p"), "p", NodeKey("n")),
    )
    places = [
        Kept(run_with(input=payload)),
        Kept(run_with(output=payload)),
        Kept(run_with(signals=(Signalled("s", "1", payload),))),
        Kept(run_with(nodes={NodeKey("n"): NodeState(NodeStatus.SUCCEEDED, output=payload)})),
        Kept(run_with(nodes={NodeKey("m"): node, NodeKey("n"): NodeState(NodeStatus.READY, details=payload)})),
        signal,
        request,
    ]
    for place in places:
        assert sorted(found.ref for found in references(place)) == expected


async def test_a_stored_payload_names_its_parts(store: Store) -> None:
    """The output of a map whose values are encrypted is put away as it is, with the references in it."""
    inner, outer = await store.put("inner", KEPT + HOUR), await store.put("outer", KEPT + HOUR)
    pages = await store.blobs.put("pages", codec.payloads.encode(Gathered((stored(inner), Inline(1)))))
    parts = await store.blobs.put(
        "parts", codec.payloads.encode(Paged((Stored(pages, 9, parts=True), stored(outer)), 3))
    )
    for ref in (pages, parts):
        store.age(ref, KEPT + HOUR)
    table = Table()
    table.put(run_with(output=Stored(parts, 9, parts=True)), run_with("s", output=Stored("no/such", 9, parts=True)))
    assert await sweeper(store, table).sweep(NOW) == Swept(named=5, removed=0)
    table.rows.clear()
    for ref in (inner, outer, pages, parts):
        store.age(ref, KEPT + HOUR)
    assert (await sweeper(store, table).sweep(NOW)).removed == 4


async def test_early_signals_name_their_values(store: Store) -> None:
    ref = await store.put("s", KEPT + HOUR)
    signal = SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="s", id="1", value=stored(ref))
    table = Table({f"{early.PREFIX}r/1": codec.incoming.encode(signal), "~read": b"{}", "~claim": b"me"})
    assert await sweeper(store, table).sweep(NOW) == Swept(named=1, removed=0)


async def test_the_changelog_is_read_whole() -> None:
    log = MemoryLog()
    log.create([TopicSpec("changelog", 2)])
    assert [batch async for batch in rows(log, "changelog")] == []
    await log.append([Outgoing("changelog", b"r", value, partition=1) for value in (b"1", None)])
    assert [batch async for batch in rows(log, "changelog")] == [[("r", b"1"), ("r", None)]]
    assert [batch async for batch in rows(log, "changelog", [0])] == []


class Watched:
    """A sweeper as a coordinator has it."""

    def __init__(self, store: Store, table: Table) -> None:
        self.sweeper = sweeper(store, table)
        self.owned: Mapping[int, Any] = {0: None, 3: None}

    async def look(self, now: int) -> None:
        await self.sweeper.look(self.owned, now)
        for _ in range(20):
            await asyncio.sleep(0)  # what began goes on


async def test_it_sweeps_from_time_to_time_and_not_at_the_start() -> None:
    clock = StillClock()
    store = Store(MemoryBlobs(clock))
    watched = Watched(store, Table())
    old = await store.put("old", KEPT + HOUR)
    await watched.look(NOW)
    await watched.look(NOW + HOUR - 1)
    assert await store.has(old)
    await watched.look(NOW + HOUR)
    assert not await store.has(old)
    await watched.look(NOW + HOUR + 200)

    later = await store.put("later", KEPT + 5 * EVERY)
    await watched.look(NOW + HOUR + EVERY - 1)
    assert await store.has(later)
    await watched.look(NOW + HOUR + EVERY)
    assert not await store.has(later)


async def test_only_who_owns_the_first_partition_sweeps() -> None:
    store = Store(MemoryBlobs(StillClock()))
    watched = Watched(store, Table())
    watched.owned = {3: None}
    old = await store.put("old", KEPT + HOUR)
    for now in range(NOW, NOW + 3 * EVERY, HOUR):
        await watched.look(now)
    assert await store.has(old)
    watched.sweeper.forget([0, 3])


async def test_a_sweep_that_fails_is_told_of_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    store, table = Store(MemoryBlobs(StillClock())), Table(fails=True)
    watched = Watched(store, table)
    old = await store.put("old", KEPT + HOUR)
    for now in (NOW, NOW + HOUR, NOW + 2 * HOUR):
        await watched.look(now)
    assert [record.levelname for record in caplog.records if getattr(record, "action", "") == "sweep"] == ["WARNING"]
    table.fails = False
    await watched.look(NOW + HOUR + EVERY)
    assert not await store.has(old)


@pytest.mark.parametrize("temporal", [{"temporal_address": "127.0.0.1:7233"}, {"role": "workflows"}])
def test_what_durable_runs_let_count_as_new_each_day_is_not_swept_before_that(temporal: dict[str, str]) -> None:
    """They are in no table: a day that is missed, since their workers are away, must not cost them a value."""

    def made(**given: object) -> None:
        bootstrap.sweeper(Settings.load(**given), MemoryLog(), MemoryBlobs())

    made(retention_hours=20, sweep_hours=14, **temporal)
    with pytest.raises(InvalidConfig, match=r"BELUGA_SWEEP_HOURS are 47\.5 hours.*48 hours or more"):
        made(retention_hours=20, sweep_hours=13.75, **temporal)
    made(retention_hours=1, sweep_hours=1)
