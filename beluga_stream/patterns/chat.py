"""Agents by a chat model: any server that speaks OpenAI's protocol. Needs the extra `openai`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import DependencyFailed, InvalidConfig
from .transcript import Reply, Spending, Transcript, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

_MAY_CHANGE = frozenset({408, 409, 429})
"""HTTP statuses below 500 of requests that are worth another attempt."""


@dataclass(frozen=True)
class ChatModel:
    """A model behind an address: `ChatModel("llama3", base_url="http://127.0.0.1:11434/v1")`.

    `api_key` is by default the environment's OPENAI_API_KEY, and is never shown. `prices` are those of a million tokens
    of prompt and of reply, in a currency of yours; `timeout` bounds one request, in seconds. Requests are not tried
    again here: the node's `Retry` does that.
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    prices: tuple[float, float] = (0.0, 0.0)
    timeout: float = 60.0

    def agent(self, instructions: str) -> Callable[[Transcript], Awaitable[Reply]]:
        """An agent that reads the transcript, under these instructions, and says what the model says."""

        async def speak(transcript: Transcript) -> Reply:
            return await self.ask(messages(instructions, transcript))

        return speak

    def chooser(self, kind: type[T], instructions: str) -> Callable[[Transcript], Awaitable[T]]:
        """Like `agent`, for what is not text: a `Verdict`, `Assign | Finish`. The model answers with JSON of that type.

        An answer that is none fails the turn, which may be tried again.
        """
        wanted = TypeAdapter[T](kind)
        told = f"{instructions}\nAnswer with JSON alone, of this JSON schema: {wanted.json_schema()}"

        async def choose(transcript: Transcript) -> T:
            reply = await self.ask(messages(told, transcript), response_format={"type": "json_object"})
            try:
                found = wanted.validate_json(reply.text)
            except ValidationError as error:
                raise DependencyFailed(f"model {self.model!r} did not answer as it was asked to: {error}") from error
            return found.model_copy(update={"usage": reply.usage}) if isinstance(found, Spending) else found

        return choose

    async def ask(self, messages: Sequence[Any], **options: Any) -> Reply:
        """One request. Raises `InvalidConfig` for what the server refuses for good, else what the client raises.

        An answer without a choice is a `DependencyFailed`.
        """
        from openai import APIStatusError  # noqa: PLC0415 - an extra: who uses no model needs no client

        async with self._client() as client:
            try:
                answer = await client.chat.completions.create(model=self.model, messages=messages, **options)
            except APIStatusError as error:
                if error.status_code < 500 and error.status_code not in _MAY_CHANGE:  # noqa: PLR2004 - the server's own
                    told = f"model {self.model!r}: the server refuses the request with {error.status_code}"
                    raise InvalidConfig(f"{told}: {error.message}") from error
                raise
        if not getattr(answer, "choices", None):  # the client gives a page that is no JSON as a text
            raise DependencyFailed(
                f"model {self.model!r} answered without a choice, which another attempt may mend: does what is at "
                f"{self.base_url or 'the default address'} speak OpenAI's protocol, and did a filter take the answer?"
            )
        prompt, said = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (0, 0)
        cost = (prompt * self.prices[0] + said * self.prices[1]) / 1_000_000
        return Reply(text=answer.choices[0].message.content or "", usage=Usage(tokens=prompt + said, cost=cost))

    def _client(self) -> "AsyncOpenAI":
        """A client for one request, which closes what it opens."""
        try:
            from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415 - see ask
        except ImportError as error:
            raise InvalidConfig("a ChatModel needs the extra: pip install 'beluga-stream[openai]'") from error
        try:
            return AsyncOpenAI(api_key=self.api_key, base_url=self.base_url, timeout=self.timeout, max_retries=0)
        except OpenAIError as error:
            raise InvalidConfig(f"model {self.model!r}: give api_key=, or set OPENAI_API_KEY") from error


def messages(instructions: str, transcript: Transcript) -> list[dict[str, str]]:
    """A transcript as a chat: the instructions, the task, then each turn under its speaker's name."""
    said = "\n\n".join(f"{turn.speaker}: {turn.text}" for turn in transcript.turns)
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": transcript.task},
        *([{"role": "user", "content": f"What was said so far:\n\n{said}"}] if said else []),
    ]
