"""A table on disk: what it says when it cannot be had."""

import sys
from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.store import RocksStore
from beluga_stream.errors import InvalidConfig


def test_who_lacks_its_package_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(InvalidConfig, match=r"pip install 'beluga-stream\[rocksdb\]'"):
        RocksStore.factory(tmp_path)
