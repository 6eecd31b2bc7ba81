"""`History`: what a memory recalls of a conversation, as a handler gets it."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Turn(BaseModel):
    """What went in and what came out of one run, as JSON. `number` grows from turn to turn; gaps are possible."""

    model_config = ConfigDict(frozen=True)

    input: Any
    output: Any
    number: int = 0

    @property
    def text(self) -> str:
        """Both as one text: what is counted, embedded and summarised by default."""
        return f"{text_of(self.input)}\n{text_of(self.output)}"


class History(BaseModel):
    """What is remembered of a conversation. A part is empty if there is nothing, or if this memory does not keep it.

    `turns` are oldest first (from a `VectorMemory`: most similar first); `summary` stands for the turns before them;
    `facts` come from a `KeyValueMemory`, `variables` from the memory of another library.

    A handler's parameter of this type is filled by the memory of its chain or graph; give it the default `INJECTED`.
    """

    model_config = ConfigDict(frozen=True)

    turns: tuple[Turn, ...] = ()
    summary: str = ""
    facts: Mapping[str, Any] = {}
    variables: Mapping[str, Any] = {}

    @property
    def messages(self) -> list[dict[str, str]]:
        """The same as chat models take it: `[{"role": "user", "content": ...}, {"role": "assistant", ...}, ...]`.

        A summary is a message of the role `system`. What is no text stands in them as JSON.
        """
        found = [{"role": "system", "content": self.summary}] if self.summary else []
        for turn in self.turns:
            found.append({"role": "user", "content": text_of(turn.input)})
            found.append({"role": "assistant", "content": text_of(turn.output)})
        return found


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
