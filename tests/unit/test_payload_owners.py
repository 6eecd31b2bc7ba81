"""Values whose owner is no name for a folder: ids of durable runs are their users'."""

import asyncio
from pathlib import Path

import pytest

from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.payload import Stored
from beluga_stream.errors import InvalidInput, NotFound
from beluga_stream.ports.cipher import Cipher

_LONG = "x" * 100_000


@pytest.mark.parametrize("cipher", [None, AesGcm({"k": bytes(32)})], ids=["plain", "sealed"])
@pytest.mark.parametrize(
    "owner", ["/orders/7", "a//b", "../up", "a/./b", "..", "z\0", "", "x" * 1_000, "ö" * 200, "run 7"]
)
async def test_any_owner_has_its_values(tmp_path: Path, owner: str, cipher: Cipher | None) -> None:
    payloads = Payloads(FileBlobs(str(tmp_path / "blobs")), cipher=cipher)
    stored = await payloads.store(owner, _LONG)
    assert isinstance(stored, Stored)
    assert await payloads.load(stored) == _LONG
    assert await payloads.kept(await payloads.keep(owner, b"data")) == b"data"
    assert await payloads.load(await payloads.store(owner, "short")) == "short"
    assert await asyncio.to_thread(lambda: [each.name for each in tmp_path.iterdir()]) in ([], ["blobs"]), "beside it"


async def test_one_that_is_a_name_is_in_the_reference(tmp_path: Path) -> None:
    stored = await Payloads(FileBlobs(str(tmp_path))).store("orders/7", _LONG)
    assert isinstance(stored, Stored)
    assert stored.ref.startswith("orders/7/")
    assert (tmp_path / stored.ref).is_file()


async def test_a_reference_that_names_no_file_is_not_an_outage_of_the_store(tmp_path: Path) -> None:
    """Whoever writes a record may write any reference: it must end no process that reads it, and no sweep."""
    blobs = FileBlobs(str(tmp_path))
    ref = await blobs.put("orders/7", b"data")
    for other in ("orders", "orders/7", f"{ref}/below", "gone"):
        with pytest.raises(NotFound):
            await blobs.get(other)
        await blobs.touch([other])
    await blobs.touch(["../up", "", "x" * 300])
    assert await blobs.delete([f"{ref}/below", "gone"], 1 << 60) == 0
    assert await blobs.get(ref) == b"data"


async def test_a_name_that_is_too_long_for_the_store_is_not_its_outage(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no name so long"):
        await FileBlobs(str(tmp_path)).put("x" * 300, b"data")
