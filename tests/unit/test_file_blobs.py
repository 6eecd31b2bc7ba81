"""Blob stores that fail, each in a way of its own: to the engine it is an outage, which ends."""

import asyncio
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.errors import InvalidInput, LogUnavailable, NotFound


class EndpointGone(Exception):
    """As botocore's: no `OSError`."""


class Elsewhere(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store of objects that nobody reaches."""

    protocol = "elsewhere"

    def pipe_file(self, *_: Any, **__: Any) -> None:
        raise EndpointGone

    def cat_file(self, *_: Any, **__: Any) -> bytes:
        raise EndpointGone("cannot connect to the endpoint")


@pytest.fixture
def elsewhere() -> FileBlobs:
    fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
    return FileBlobs("elsewhere://bucket")


async def test_whatever_a_store_raises_is_its_outage(elsewhere: FileBlobs) -> None:
    with pytest.raises(LogUnavailable, match="fails: cannot connect") as raised:
        await elsewhere.get("run/abc")
    assert isinstance(raised.value.__cause__, EndpointGone)
    with pytest.raises(LogUnavailable, match="fails: EndpointGone"):
        await elsewhere.put("run", b"data")


async def test_what_is_no_outage_stays_what_it_is(elsewhere: FileBlobs) -> None:
    with pytest.raises(InvalidInput, match="names no blob"):
        await elsewhere.get("../run")
    with pytest.raises(NotFound, match="there is no blob"):
        await FileBlobs("memory://nothing-here").get("run/abc")


def test_a_folder_that_is_not_there_yet_stands_well_and_is_not_made(tmp_path: Path) -> None:
    asyncio.run(FileBlobs(str(tmp_path / "some" / "blobs")).check())
    asyncio.run(FileBlobs(str(tmp_path)).check())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_stand_well(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogUnavailable, match=r"the blob store at .*/file/blobs fails: .*Not a directory"):
        asyncio.run(FileBlobs(str(tmp_path / "file" / "blobs")).check())


def test_a_folder_that_may_not_be_written_does_not_stand_well(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    user = os.geteuid()
    os.seteuid(user or 65_534)  # root may write everywhere
    try:
        with pytest.raises(LogUnavailable, match=r"fails: .*Permission denied"):
            asyncio.run(FileBlobs(str(tmp_path)).check())
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)
