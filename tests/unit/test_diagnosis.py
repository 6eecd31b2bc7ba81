"""What `beluga doctor` says of keys, tokens and the blob store: what a process would end with at its start."""

from pathlib import Path
from typing import Any

import pytest

from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli.diagnosis import _values
from beluga_stream.cli.finding import Finding

_SECRET = "hunter2hunter2"


async def _found(tmp_path: Path, **settings: Any) -> Finding:
    return await _values(Settings(**{"blobs": str(tmp_path / "blobs"), **settings}))


async def test_a_store_that_can_be_written_is_well(tmp_path: Path) -> None:
    assert (await _found(tmp_path)).ok is True


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"encryption_keys": f"k1:{_SECRET}"}, "BELUGA_ENCRYPTION_KEYS is not 32 bytes"),
        ({"encryption_key_file": "nowhere"}, "BELUGA_ENCRYPTION_KEY_FILE, nowhere, cannot be read"),
        ({"http_tokens": f"shop:{_SECRET}"}, "BELUGA_HTTP_TOKENS, line 1 is no token"),
        ({"http_token_file": "nowhere"}, "BELUGA_HTTP_TOKEN_FILE=nowhere cannot be read"),
        ({"http_stream_secret": _SECRET}, "BELUGA_HTTP_STREAM_SECRET is too short"),
        ({"blobs": "nosuchstore://bucket"}, "BELUGA_BLOBS=nosuchstore://"),
    ],
)
async def test_what_no_process_would_start_with_is_found(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    found = await _found(tmp_path, **settings)
    assert (found.check, found.ok) == ("settings", False)
    assert told in found.said
    assert _SECRET not in found.said


async def test_a_store_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("in the way")
    found = await _found(tmp_path)
    assert (found.check, found.ok) == ("large values", False)
    assert "Not a directory" in found.said
    assert "BELUGA_BLOBS" in found.fix
