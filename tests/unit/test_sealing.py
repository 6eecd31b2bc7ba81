"""Values that only holders of the keys can read: what is sealed, what it is bound to, and what goes wrong."""

from base64 import b64encode
from typing import Any

import pytest

from beluga_stream.adapters.crypto.aesgcm import AesGcm, new_key, parse_keys
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application import codec
from beluga_stream.application.deadletters import dead_letter, original
from beluga_stream.application.payloads import Payloads, input_digest
from beluga_stream.application.requests import check_seals
from beluga_stream.application.sealing import seal, unseal
from beluga_stream.bootstrap.encryption import cipher_of
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import Parent, RunRequested, SignalReceived
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Gathered, Inline, Paged, Payload, Picked, Sealed, Stored, length_of, seals_of
from beluga_stream.errors import InvalidConfig, InvalidInput, KeyMissing, Tampered
from beluga_stream.ports.log import Record

SECRET = "the tulip is under the third stone"
ONE, TWO = bytes(range(32)), bytes(range(1, 33))
K1 = AesGcm({"k1": ONE})
K2 = AesGcm({"k2": TWO, "k1": ONE})


def _payloads(cipher: AesGcm | None = K1, blobs: MemoryBlobs | None = None, **options: Any) -> Payloads:
    return Payloads(MemoryBlobs() if blobs is None else blobs, cipher=cipher, **options)


@pytest.mark.parametrize(
    "value", [None, True, 7, SECRET, [SECRET] * 3, {"a": [SECRET]}, SECRET * 5000, [SECRET] * 5000], ids=range(8)
)  # fmt: skip
async def test_every_value_comes_back_and_nothing_of_it_shows(value: Any) -> None:
    blobs = MemoryBlobs()
    payload = await _payloads(blobs=blobs).store("run", value)
    assert await _payloads(blobs=blobs).load(payload) == value
    assert length_of(payload) == (len(value) if isinstance(value, list) else None)
    assert set(seals_of(payload)) == {"run"}
    for seen in (codec.payloads.encode(payload), *blobs.stored.values()):
        assert SECRET.encode() not in seen
        assert b64encode(SECRET.encode())[:20] not in seen


async def test_a_record_never_becomes_longer_than_without_encryption() -> None:
    """Base64 is longer by a third: a value that just fitted must not make a record that does not."""
    for size in (40_000, 48_000, 49_100, 49_200, 65_000):
        payload = await _payloads().store("run", "x" * size)
        assert len(codec.payloads.encode(payload)) < 66_000


async def test_an_item_of_a_sealed_list_is_read_by_who_has_the_key_and_counted_by_who_has_not() -> None:
    blobs = MemoryBlobs()
    short = await _payloads(blobs=blobs).store("run", ["a", "b"])
    long = await _payloads(blobs=blobs).store("run", [SECRET] * 1000)
    assert isinstance(short, Sealed)
    assert isinstance(long, Stored), "each item of a map would carry the whole list"
    assert (length_of(short), length_of(long)) == (2, 1000)
    both = _payloads(blobs=blobs)
    assert await both.load(Picked(short, 1)) == "b"
    assert await both.load(Picked(long, 999)) == SECRET
    assert await both.load(Paged((short, long), 1002), 1) == "b"


async def test_what_a_coordinator_cannot_read_it_can_still_put_away() -> None:
    """The results of a page, or of many finish points, are parts that nobody on the way can join."""
    blobs = MemoryBlobs()
    parts = tuple([await _payloads(blobs=blobs).store("run", SECRET) for _ in range(20)])
    keyless = _payloads(None, blobs)
    put = await keyless.shortened("run", Gathered(parts), limit_bytes=1000)
    assert isinstance(put, Stored)
    assert put.parts
    assert length_of(put) == 20
    assert await _payloads(blobs=blobs).load(put) == [SECRET] * 20
    assert await _payloads(blobs=blobs).load(Paged((put, put), 40), 39) == SECRET
    assert await keyless.shortened("run", Gathered(parts[:2])) == Gathered(parts[:2])
    assert await keyless.shortened("run", parts[0], limit_bytes=1) == parts[0]
    assert await keyless.shortened("run", Inline(SECRET), limit_bytes=1) == Inline(SECRET)
    plain = Gathered(tuple(Stored(f"run/{number}", 9) for number in range(20)))
    assert await keyless.shortened("run", plain, limit_bytes=1) == plain


async def test_rotation_old_values_open_and_new_ones_take_the_new_key() -> None:
    old = await _payloads(K1).store("run", SECRET)
    assert await _payloads(K2).load(old) == SECRET
    new = await _payloads(K2).store("run", SECRET)
    with pytest.raises(KeyMissing, match=r"encrypted with key 'k2', which this process does not have") as missing:
        await _payloads(K1).load(new)
    assert missing.value.ids["key"] == "k2"
    with pytest.raises(KeyMissing, match="key 'k2'"):
        await _payloads(None).load(new)


async def test_people_without_the_key_are_told_which_it_is() -> None:
    sealed, plain = await _payloads(K2).store("run", SECRET), Inline(3)
    shown = _payloads(None, shows_sealed=True)
    assert await shown.load(sealed) == "encrypted (k2)"
    assert await shown.load(Picked(sealed, 0)) == "encrypted (k2)"
    assert await shown.load(Gathered((sealed, plain), ("a", "b"))) == {"a": "encrypted (k2)", "b": 3}
    assert await shown.load(Paged((sealed,), 5)) == "encrypted (k2)"


async def test_the_same_value_looks_different_each_time_and_its_digest_is_keyed() -> None:
    """Or whoever sees the topics could guess: a yes or a no has few values to try."""
    payloads = _payloads()
    first, second = await payloads.store("run", "yes"), await payloads.store("run", "yes")
    assert first != second
    assert payloads.digest("yes") == payloads.digest("yes") != payloads.digest("no")
    assert payloads.digest("yes") != input_digest("yes") == _payloads(None).digest("yes")
    assert _payloads(K2).digest("yes") == payloads.digest("yes"), "a new key in front changes no digest"


def test_every_bit_counts() -> None:
    sealed = seal(K1, SECRET.encode(), "run")
    assert unseal(K1, sealed, "run") == SECRET.encode()
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        broken[at] ^= 1
        with pytest.raises((Tampered, KeyMissing, InvalidInput)):
            unseal(K1, bytes(broken), "run")
    for length in range(len(sealed)):
        with pytest.raises((Tampered, KeyMissing, InvalidInput)):
            unseal(K1, sealed[:length], "run")


async def test_a_sealed_value_does_not_open_for_another_run() -> None:
    blobs = MemoryBlobs()
    payloads = _payloads(blobs=blobs)
    inline, stored = await payloads.store("mine", SECRET), await payloads.store("mine", SECRET * 9999)
    assert isinstance(inline, Sealed)
    assert isinstance(stored, Stored)
    moved = f"yours/{stored.ref.rpartition('/')[2]}"
    blobs.stored[moved] = blobs.stored[stored.ref]
    for stolen in (replace(inline, owner="yours"), replace(stored, ref=moved)):
        with pytest.raises(Tampered, match="does not open: it was altered, belongs to another run"):
            await _payloads(blobs=blobs).load(stolen)


async def test_a_plain_blob_in_place_of_a_sealed_one_is_refused() -> None:
    blobs = MemoryBlobs()
    stored = await _payloads(blobs=blobs).store("run", SECRET * 9999)
    assert isinstance(stored, Stored)
    blobs.stored[stored.ref] = b'"forged"'
    with pytest.raises(InvalidInput, match="should be encrypted is not"):
        await _payloads(blobs=blobs).load(stored)


async def test_nobody_hands_in_a_value_of_another_run() -> None:
    """It would be decrypted by a worker for a run whose result the thief may read."""
    stolen = await _payloads().store("theirs", SECRET)
    mine = await _payloads().store("mine", SECRET)

    def start(value: Payload, parent: Parent | None = None) -> RunRequested:
        return RunRequested(run=RunId("mine"), key="mine", at_ms=0, graph="g", input=value, digest="", parent=parent)

    for bad in (
        start(stolen),
        start(Gathered((Inline(1), Picked(stolen, 0)))),
        start(Stored("theirs/ab", 1, sealed=True)),
        SignalReceived(run=RunId("mine"), key="mine", at_ms=0, signal="s", id="1", value=stolen),
    ):
        with pytest.raises(InvalidInput, match="of run mine brings an encrypted value of run theirs"):
            check_seals(bad)
    check_seals(start(mine))
    check_seals(start(stolen, Parent(RunId("theirs"), "theirs", NodeKey("n"))))


async def test_a_large_dead_letter_is_sealed_too() -> None:
    blobs = MemoryBlobs()
    record = Record("t", 0, 1, b"k", SECRET.encode() * 20_000)
    letter = await dead_letter("dead", record, InvalidInput("no"), _payloads(blobs=blobs))
    assert not any(SECRET.encode() in data for data in blobs.stored.values())
    kept = Record("dead", 0, 0, letter.key, letter.value, 0, letter.headers)
    assert (await original(kept, _payloads(blobs=blobs)))[1] == record.value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no key"),
        ("abc", "key 1 of the file is not of the form id:base64"),
        ("a b:QUJD", "key 1 of the file is not of the form id:base64"),
        ("k1:QUJD", "key 'k1' of the file is not 32 bytes in base64"),
        ("k1:%%%%", "key 'k1' of the file is not 32 bytes in base64"),
        (f"{new_key('k')}\n{new_key('k')}", "has two keys with the id 'k'"),
    ],
    ids=["empty", "no id", "a bad id", "too short", "no base64", "twice"],
)
def test_keys_that_are_none_are_named_and_never_shown(text: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told) as error:
        parse_keys(text, "the file")
    assert not any(part and part in str(error.value) for part in (text.partition(":")[2][:20],))


def test_keys_come_from_a_variable_or_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since May\n{new_key('new')}\n\n{new_key('old')}\n")
    monkeypatch.setenv("BELUGA_ENCRYPTION_KEY_FILE", str(file))
    cipher = cipher_of(Settings.load())
    assert cipher is not None
    assert (cipher.active, repr(cipher)) == ("new", "AesGcm(new, old)")
    monkeypatch.setenv("BELUGA_ENCRYPTION_KEYS", new_key("other"))
    with pytest.raises(InvalidConfig, match="are both set"):
        cipher_of(Settings.load())
    monkeypatch.delenv("BELUGA_ENCRYPTION_KEYS")
    file.unlink()
    with pytest.raises(InvalidConfig, match="cannot be read"):
        cipher_of(Settings.load())


def test_secrets_show_in_no_form_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_ENCRYPTION_KEYS", new_key("k"))
    monkeypatch.setenv("BELUGA_SASL_PASSWORD", "hunter2")
    settings = Settings.load()
    shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hunter2" not in shown
    assert "k:" not in shown
