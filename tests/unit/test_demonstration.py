"""`beluga demo`, and what it says before it starts anything."""

from pathlib import Path

import pytest

from beluga_stream.cli import demonstration
from beluga_stream.errors import InvalidConfig


async def test_who_lacks_its_package_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "find_spec", lambda name: None)
    with pytest.raises(InvalidConfig, match=r"pip install 'beluga-stream\[demo\]'"):
        await demonstration.demonstrate(broker=None, write_name=None, as_json=False)


async def test_who_lacks_its_texts_is_told_so_before_anything_is_installed_or_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demonstration, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfig, match="texts are not in agents/data/sherlock: run it in the project's folder"):
        await demonstration.demonstrate(broker=None, write_name=None, as_json=False)
