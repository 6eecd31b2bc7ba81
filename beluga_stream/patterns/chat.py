"""Agents by a chat model: any server that speaks OpenAI's protocol. Needs the extra `openai`."""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from pydantic import TypeAdapter, ValidationError

from ..api.ranges import check_duration
from ..api.retry import Seconds, seconds
from ..application.execution.judging import first_of
from ..application.execution.node_threads import in_node_thread
from ..bounds import in_time
from ..errors import DependencyFailed, InvalidConfig, TimedOut
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
    of prompt and of reply, in a currency of yours; `timeout` bounds one request with all of its answer (seconds or
    timedelta, up to 24 hours). Requests are not tried again here: the node's `Retry` does that.

    Raises `InvalidConfig` for a `timeout` out of range, and for prices that are none.
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    prices: tuple[float, float] = (0.0, 0.0)
    timeout: Seconds = 60.0

    def __post_init__(self) -> None:
        check_duration("ChatModel", "timeout", self.timeout)
        prices: object = self.prices
        if not (isinstance(prices, tuple | list) and len(prices) == 2 and all(map(_is_price, prices))):  # noqa: PLR2004
            raise InvalidConfig(f"ChatModel: prices={self.prices!r}: give those of a million tokens, as (0.15, 0.60)")

    def agent(self, instructions: str) -> Callable[[Transcript], Awaitable[Reply]]:
        """An agent that reads the transcript, under these instructions, and says what the model says."""

        async def speak(transcript: Transcript) -> Reply:
            return await self.ask(messages(instructions, transcript))

        return speak

    @overload
    def chooser(self, kind: type[T], instructions: str) -> Callable[[Transcript], Awaitable[T]]: ...
    @overload
    def chooser(self, kind: UnionType, instructions: str) -> Callable[[Transcript], Awaitable[Any]]: ...
    def chooser(self, kind: Any, instructions: str) -> Callable[[Transcript], Awaitable[Any]]:
        """Like `agent`, for what is not text: a `Verdict`, `Assign | Finish`. The model answers with JSON of that type.

        An answer that is none fails the turn, which may be tried again.
        """
        wanted: TypeAdapter[Any] = TypeAdapter(kind)
        told = f"{instructions}\nAnswer with JSON alone, of this JSON schema: {wanted.json_schema()}"

        async def choose(transcript: Transcript) -> Any:
            reply = await self.ask(messages(told, transcript), response_format={"type": "json_object"})
            try:
                found = wanted.validate_json(reply.text)
            except ValidationError as error:
                raise DependencyFailed(
                    f"model {self.model!r} did not answer as it was asked to: {first_of(error)}"
                ) from error
            return found.model_copy(update={"usage": reply.usage}) if isinstance(found, Spending) else found

        return choose

    async def ask(self, messages: Sequence[Any], **options: Any) -> Reply:
        """One request. Raises `InvalidConfig` for what the server refuses for good, else what the client raises.

        An answer without a text is a `DependencyFailed`, one that is not there in time a `TimedOut`.
        """
        # In a thread: it reads all the certificates that this machine trusts.
        async with await in_node_thread(self._client) as client:
            limit = seconds(self.timeout)
            async with in_time(limit, lambda: TimedOut(f"model {self.model!r} did not answer within {limit:g} s")):
                answer = await self._answer(client, messages, options)
        usage = getattr(answer, "usage", None)
        prompt, said = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        cost = (prompt * self.prices[0] + said * self.prices[1]) / 1_000_000
        return Reply(text=self._text(answer), usage=Usage(tokens=prompt + said, cost=cost))

    async def _answer(self, client: "AsyncOpenAI", messages: Sequence[Any], options: dict[str, Any]) -> Any:
        from openai import APIStatusError  # noqa: PLC0415 - an extra: who uses no model needs no client

        try:
            return await client.chat.completions.create(model=self.model, messages=messages, **options)
        except APIStatusError as error:
            if error.status_code < 500 and error.status_code not in _MAY_CHANGE:  # noqa: PLR2004 - the server's own
                told = f"model {self.model!r}: the server refuses the request with {error.status_code}"
                raise InvalidConfig(f"{told}: {error.message}") from error
            raise
        except JSONDecodeError as error:
            raise self._unusable("with what is no JSON") from error

    def _text(self, answer: Any) -> str:
        choices = getattr(answer, "choices", None)  # the client gives a page that is no JSON as a text
        if not choices or choices[0].message is None:
            raise self._unusable("without a choice")
        message = choices[0].message
        text: str | None = message.content
        if text is not None and not isinstance(cast("object", text), str):
            raise self._unusable(f"with a {type(text).__name__} for a text")
        if not text and (text is None or choices[0].finish_reason != "stop"):
            refusal = getattr(message, "refusal", None)
            told = f": {refusal}" if refusal else ""
            raise DependencyFailed(
                f"model {self.model!r} answered without a text (finish_reason={choices[0].finish_reason!r}){told}. "
                f"What is asked is to be answered in words: without tools, and within max_tokens"
            )
        return text

    def _unusable(self, how: str) -> DependencyFailed:
        return DependencyFailed(
            f"model {self.model!r} answered {how}, which another attempt may mend: does what is at "
            f"{self.base_url or 'the default address'} speak OpenAI's protocol, and did a filter take the answer?"
        )

    def _client(self) -> "AsyncOpenAI":
        """A client for one request, which closes what it opens."""
        try:
            from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415 - see _answer
        except ImportError as error:
            raise InvalidConfig("a ChatModel needs the extra: pip install 'beluga-stream[openai]'") from error
        try:
            # Its own timeout is for each piece that it reads: an answer that trickles would never be late.
            return AsyncOpenAI(api_key=self.api_key, base_url=self.base_url, timeout=None, max_retries=0)
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


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf  # NaN is neither
