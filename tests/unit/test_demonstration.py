"""`beluga demo`, and what it says before it starts anything."""

import pytest

from beluga_stream.cli import demonstration
from beluga_stream.errors import InvalidConfig


async def test_who_lacks_its_package_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "find_spec", lambda name: None)
    with pytest.raises(InvalidConfig, match=r"pip install 'beluga-stream\[demo\]'"):
        await demonstration.demonstrate(broker=None, write_name=None, as_json=False)
