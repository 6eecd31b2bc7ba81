"""Blob stores that fail, each in a way of its own: to the engine it is an outage, which ends."""

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
