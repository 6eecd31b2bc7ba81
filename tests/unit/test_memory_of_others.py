"""Memories that other libraries have written."""

from typing import Any

import pytest

from beluga_stream import (
    INJECTED,
    History,
    Memory,
    chain,
)
from beluga_stream.errors import RunFailed
from tests.unit.remembering import Foreign, contents


class ForeignAsync(Foreign):
    """With async methods beside them, as LangChain's have."""

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"lines": [f"async {line}" for line in self.lines]}

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.save_context(inputs, outputs)


async def test_a_memory_of_another_library_adapts() -> None:
    async def given_lines(given: dict[str, Any]) -> int:
        return len(given["lines"])

    async def asked(text: str, history: History = INJECTED) -> list[str]:
        return list(history.variables["lines"])

    memory = Foreign()
    assert isinstance(memory, Memory)
    assert [await chain(given_lines, memory=memory).invoke({"q": 1}) for _ in range(3)] == [0, 1, 2]
    talk = chain(asked, memory=ForeignAsync())
    assert [await talk.invoke("a"), await talk.invoke("b")] == [[], ["async {'input': 'a'} {'output': []}"]]


async def test_a_memory_that_gives_no_mapping_is_refused() -> None:
    class Wrong(Foreign):
        def load_memory_variables(self, inputs: dict[str, Any]) -> Any:
            return "text"

    with pytest.raises(RunFailed, match=r"Wrong\.load_memory_variables gave a str"):
        await chain(contents, memory=Wrong()).invoke({"q": 1})
