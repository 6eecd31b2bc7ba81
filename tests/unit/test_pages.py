"""What a process has loaded is moved into large pages: that, nothing else, and only where it may be."""

import asyncio
import ctypes
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.bootstrap import pages

_MIB = 1 << 20


class Linux:
    """Takes note of what it is advised, and does it only `below` an address."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.advised: list[tuple[int, int, int]] = []
        self.below = 1 << 47
        self.setting = folder / "enabled"
        self.ranges = folder / "smaps"
        self.setting.write_text("always [madvise] never\n")
        self.ranges.write_text("")
        monkeypatch.setattr(pages, "_SETTING", self.setting)
        monkeypatch.setattr(pages, "_RANGES", self.ranges)
        monkeypatch.setattr(ctypes, "CDLL", lambda _: self)

    def has(self, start: int, size: int, *, resident: int, ends: str = "") -> None:
        """A range of memory; sizes in bytes."""
        told = f"{start:x}-{start + size:x} {ends or 'rw-p 00000000 00:00 0 '}\nSize: {size >> 10} kB\n"
        self.ranges.write_text(f"{self.ranges.read_text()}{told}Rss:  {resident >> 10} kB\nVmFlags: rd wr mr\n")

    @property
    def madvise(self) -> Any:
        def madvise(place: int, size: int, advice: int) -> int:
            self.advised.append((place, size, advice))
            return 0 if place < self.below else -1

        return madvise


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Linux:
    return Linux(tmp_path, monkeypatch)


def test_what_is_in_memory_as_a_whole_becomes_large_pages_within_its_bounds(linux: Linux) -> None:
    linux.has(0x7F0000100000, 6 * _MIB, resident=6 * _MIB)
    linux.has(0x550000000000, 2 * _MIB, resident=2 * _MIB, ends="rw-p 00000000 00:00 0    [heap]")
    assert pages.enlarge() == 3
    assert linux.advised == [(place, 2 * _MIB, 25) for place in (0x7F0000200000, 0x7F0000400000, 0x550000000000)]


@pytest.mark.parametrize(
    "ends",
    [
        "rw-p 00000000 00:00 0    [stack]",
        "rw-p 00000000 fe:00 247741    /usr/lib/libpython3.11.so",
        "r-xp 00000000 00:00 0 ",
        "rw-s 00000000 00:01 4711    /dev/zero (deleted)",
    ],
)
def test_stacks_files_code_and_shared_memory_stay_as_they_are(linux: Linux, ends: str) -> None:
    linux.has(0x7F0000000000, 8 * _MIB, resident=8 * _MIB, ends=ends)
    assert pages.enlarge() == 0
    assert linux.advised == []


def test_what_is_mostly_not_in_memory_does_not_get_there(linux: Linux) -> None:
    linux.has(0x7F0000000000, 8 * _MIB, resident=_MIB)
    linux.has(0x7F0001000000, _MIB, resident=_MIB)
    assert pages.enlarge() == 0
    assert linux.advised == []


def test_no_more_than_its_bound_and_what_cannot_be_is_left(linux: Linux) -> None:
    linux.has(0x7F0000000000, 1024 * _MIB, resident=1024 * _MIB)
    linux.below = 0x7F0000000000 + 20 * _MIB
    assert pages.enlarge() == 10
    assert len(linux.advised) == 128


def test_who_has_switched_large_pages_off_gets_none(linux: Linux) -> None:
    linux.has(0x7F0000000000, 8 * _MIB, resident=8 * _MIB)
    linux.setting.write_text("always madvise [never]\n")
    assert pages.enlarge() == 0
    assert linux.advised == []


def test_another_system_has_none(linux: Linux) -> None:
    linux.setting.unlink()
    assert pages.enlarge() == 0


def test_a_file_whose_name_is_no_text_is_in_nobodys_way(linux: Linux) -> None:
    linux.has(0x7F0000000000, 2 * _MIB, resident=2 * _MIB)
    told = b"7e0000000000-7e0000200000 rw-p 00000000 fe:00 1    /tmp/\xff\nRss:  2048 kB\n"
    linux.ranges.write_bytes(told + linux.ranges.read_bytes())
    assert pages.enlarge() == 1


async def test_it_is_done_a_while_after_the_start(linux: Linux, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def enlarge() -> int:
        loop.call_soon_threadsafe(done.set)
        return 1

    monkeypatch.setattr(pages, "enlarge", enlarge)
    async with pages.in_large_pages():
        pass
    assert not done.is_set(), "a process that ends at once has no use for it"
    monkeypatch.setattr(pages, "_AFTER_SECONDS", 0.0)
    async with asyncio.timeout(20), pages.in_large_pages():
        await done.wait()
