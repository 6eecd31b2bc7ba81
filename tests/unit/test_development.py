"""`beluga dev` and its page of runs, which may be missing."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.util import find_spec
from typing import Any

import pytest

from beluga_stream.bootstrap import gateway
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli import development
from beluga_stream.cli.development import _page
from beluga_stream.cli.devscreen import DevScreen
from beluga_stream.errors import AccessDenied


@pytest.fixture
def screen() -> DevScreen:
    return DevScreen("broker", "agents", as_json=True)


async def test_an_address_that_is_taken_leaves_it_without_its_page(
    screen: DevScreen, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        await _page(Settings.load(http_address=f"127.0.0.1:{other.getsockname()[1]}"), screen)
    told = capsys.readouterr().out
    assert "no page of runs: cannot listen on 127.0.0.1" in told
    assert "takes any free port" in told


@pytest.mark.parametrize("lacks", ["starlette", "uvicorn"])
async def test_who_lacks_a_package_of_the_gateway_develops_without_its_page(
    screen: DevScreen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """One of them may be there for something else."""
    monkeypatch.setattr(development, "find_spec", lambda name: None if name == lacks else find_spec(name))
    monkeypatch.delitem(sys.modules, "beluga_stream.bootstrap.gateway")
    monkeypatch.setitem(sys.modules, lacks, None)
    await development._page(Settings.load(http_address="127.0.0.1:0"), screen)
    assert "no page of runs: pip install 'beluga-stream[http]'" in capsys.readouterr().out


async def test_who_may_not_be_a_gateway_develops_without_its_page(
    screen: DevScreen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def refused(_: Settings) -> AsyncIterator[Any]:
        raise AccessDenied("a gateway may not write beluga.run-requests")
        yield

    monkeypatch.setattr(gateway, "open_gateway", refused)
    await _page(Settings.load(http_address="127.0.0.1:0"), screen)
    assert "no page of runs: a gateway may not write" in capsys.readouterr().out
