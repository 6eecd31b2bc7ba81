"""A chain that recalls what was said, and what a test asks of memories."""

from typing import Any

from pydantic import BaseModel

from beluga_stream import INJECTED, Graph, History, Retry
from beluga_stream.api.memory import StoredMemory


class Ask(BaseModel):
    session: str
    text: str


async def recalls(ask: Ask, history: History = INJECTED) -> list[str]:
    """The texts of all turns, this one's last."""
    return [*(turn.input for turn in history.turns), ask.text]


async def contents(given: dict[str, Any]) -> list[str]:
    return [message["content"] for message in given["history"]]


def session(ask: Ask) -> str:
    return ask.session


async def texts(memory: StoredMemory[Any], conversation: str = "default") -> list[Any]:
    return [turn.input for turn in (await memory.of(conversation).recall({"input": "?"})).turns]


async def talked(memory: StoredMemory[Any], *turns: str) -> None:
    for text in turns:
        await memory.save_context({"input": text}, {"output": f"{text}!"})


def impatient(graph: Graph[Any, Any]) -> Graph[Any, Any]:
    """It does not wait between two attempts."""
    graph._blueprint.options = {"retry": Retry(4, first=0, most=0)}
    return graph


class Foreign:
    """A memory as other libraries have them: sync."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def memory_variables(self) -> list[str]:
        return ["lines"]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"lines": list(self.lines)}

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.lines.append(f"{inputs} {outputs}")

    def clear(self) -> None:
        self.lines.clear()
