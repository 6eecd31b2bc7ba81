"""A process that has grown looks for garbage and gives back what is free; one that has not leaves all as it is."""

import asyncio
import gc
import os
from pathlib import Path

import pytest

from beluga_stream.bootstrap import memory

_MIB = 1 << 20


class System:
    """Says how large the process is, and counts what it gives back."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trims = 0
        self.frees = 0
        self.trimmed = asyncio.Event()
        self.looked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._file = folder / "statm"
        self.size = 100 * _MIB
        monkeypatch.setattr(memory, "_RESIDENT", self._file)
        monkeypatch.setattr(memory, "_EVERY_SECONDS", 0.0)
        monkeypatch.setattr(memory, "trim", self._trim)
        resident = memory.resident

        def counted() -> int:
            self.looked.set()
            return resident()

        monkeypatch.setattr(memory, "resident", counted)

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = size
        self._file.write_text(f"999999 {size // os.sysconf('SC_PAGE_SIZE')} 3 4 0 5 0\n")

    def _trim(self) -> None:
        self.trims += 1
        self.size -= self.frees
        self._loop.call_soon_threadsafe(self.trimmed.set)

    async def looks_again(self) -> None:
        """It has looked twice from now on, so that what it made of the first look is done."""
        for _ in range(2):
            self.looked.clear()
            await self.looked.wait()


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    return System(tmp_path, monkeypatch)


async def test_who_has_grown_gives_back_and_only_then(system: System) -> None:
    async with asyncio.timeout(20), memory.given_back():
        await system.looks_again()
        system.size += 15 * _MIB
        await system.looks_again()
        assert system.trims == 0
        system.frees = 20 * _MIB
        system.size += 2 * _MIB
        await system.trimmed.wait()
        await system.looks_again()
        assert system.trims == 1


async def test_what_stays_is_not_looked_at_again(system: System) -> None:
    """Runs that go on are no garbage: the next look is worth it when there are many more."""
    async with asyncio.timeout(20), memory.given_back():
        await system.looks_again()
        system.size += 50 * _MIB
        await system.trimmed.wait()
        await system.looks_again()
        system.size += 15 * _MIB
        await system.looks_again()
        assert system.trims == 1
        system.trimmed.clear()
        system.size += 5 * _MIB
        await system.trimmed.wait()


async def test_garbage_that_holds_much_is_found(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(gc, "collect", looked.append)
    async with asyncio.timeout(20), memory.given_back():
        await system.looks_again()
        assert looked == []
        system.size += 50 * _MIB
        await system.trimmed.wait()
    assert looked == [1]


async def test_a_system_that_does_not_say_how_large_a_process_is_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_RESIDENT", tmp_path / "none")
    async with memory.given_back():
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "beluga-memory"]


async def test_that_it_fails_ends_nothing_and_is_told(
    system: System, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks() -> int:
        system.looked.set()
        raise OSError("no such file")

    monkeypatch.setattr(memory, "resident", breaks)
    async with asyncio.timeout(20), memory.given_back():
        await system.looked.wait()
    assert "beluga-memory has ended: OSError('no such file')" in caplog.text


def test_this_system_says_how_large_this_process_is() -> None:
    assert 10 * _MIB < memory.resident() < 10_000 * _MIB
    memory.trim()
