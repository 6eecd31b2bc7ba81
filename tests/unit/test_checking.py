"""What an orchestrator's check says of engines and a bus that are not well."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from beluga_stream import Orchestrator
from beluga_stream.adapters.memory.bus import MemoryCarrier
from beluga_stream.api import running
from beluga_stream.api.here import LocalProvider
from beluga_stream.errors import LogUnavailable, TemporalUnavailable, TimedOut
from beluga_stream.ports.spans import NO_SPANS


def clean(text: str) -> str:
    return text.strip()


class Frail(LocalProvider):
    """An engine that works, and says that it is as it is told to be."""

    def __init__(self) -> None:
        super().__init__(NO_SPANS)
        self.ill: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        await self.answers.wait()
        if self.ill is not None:
            raise self.ill


@pytest.fixture
async def frail() -> AsyncIterator[tuple[Orchestrator, Frail]]:
    """An orchestrator with a chain on a healthy engine, and one on the engine that may be ill."""
    engine = Frail()
    async with Orchestrator(providers={"frail": lambda: engine}) as orch:
        orch.create_chain(clean)
        yield orch, engine


async def test_an_engine_in_use_that_is_ill_is_told(frail: tuple[Orchestrator, Frail]) -> None:
    orch, engine = frail
    orch.create_chain(clean, name="other", provider="frail")
    await orch.check()
    engine.ill = TemporalUnavailable("it is away")
    with pytest.raises(TemporalUnavailable, match="it is away"):
        await orch.check()
    engine.ill = None
    await orch.check()


async def test_an_engine_that_nothing_uses_is_not_asked(frail: tuple[Orchestrator, Frail]) -> None:
    orch, engine = frail
    engine.ill = TemporalUnavailable("it is away")
    await orch.check()


async def test_an_engine_that_does_not_say_is_named(
    frail: tuple[Orchestrator, Frail], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_CHECK_SECONDS", 0.05)
    orch, engine = frail
    chain = orch.create_chain(clean, name="other", provider="frail")
    engine.answers.clear()
    with pytest.raises(TimedOut, match=r"provider 'frail' did not say within 0\.05 s how it is"):
        await orch.check()
    assert await chain.invoke(" a ") == "a"


@pytest.fixture
def sick_bus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every bus of this process raise this, or hang with None."""

    def sicken(error: Exception | None) -> None:
        async def check(_: MemoryCarrier) -> None:
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error

        monkeypatch.setattr(MemoryCarrier, "check", check)

    return sicken


async def test_a_bus_in_use_that_is_ill_is_told(frail: tuple[Orchestrator, Frail], sick_bus: Any) -> None:
    orch, _ = frail
    sick_bus(LogUnavailable("the bus is away"))
    await orch.check()  # nobody has asked for it
    bus = orch.message_bus
    for checked in (orch, bus):
        with pytest.raises(LogUnavailable, match="the bus is away"):
            await checked.check()


async def test_a_bus_that_does_not_say_is_named(
    frail: tuple[Orchestrator, Frail], sick_bus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_CHECK_SECONDS", 0.05)
    orch, _ = frail
    sick_bus(None)
    _ = orch.message_bus
    async with asyncio.timeout(5):
        with pytest.raises(TimedOut, match="the message bus did not say"):
            await orch.check()
