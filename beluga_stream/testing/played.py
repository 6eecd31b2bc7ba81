"""What the suites for providers share: a test has a provider and a loop of its own, and leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from ..api.provider import Provider, ProviderFactory
from ..bounds import within

T = TypeVar("T")

Play = Callable[[Callable[[Any], Awaitable[Any]]], Any]
"""Runs a test with an open provider."""


class Played:
    """Base of the suites. `patience` is how many seconds a test may take."""

    patience = 30.0

    @pytest.fixture
    def make(self) -> ProviderFactory:
        """Makes the provider that is tested."""
        raise NotImplementedError("say how your provider is made: override the fixture make()")

    @pytest.fixture
    def play(self, make: ProviderFactory) -> Play:
        """Runs a test with an open provider, in a loop of its own, and finds what it leaves behind."""

        async def played(test: Callable[[Provider], Awaitable[T]]) -> T:
            before = asyncio.all_tasks()
            async with within(self.patience):
                provider = make()
                try:
                    return await test(provider)
                finally:
                    await provider.aclose()
                    await asyncio.sleep(0)
                    left = asyncio.all_tasks() - before
                    assert not left, f"it leaves tasks behind: {left}"

        return lambda test: asyncio.run(played(test))
