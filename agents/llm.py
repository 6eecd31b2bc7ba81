"""A node that asks a language model, and streams the answer token by token.

An example of calling an outside service from a node. It works with every server that speaks OpenAI's chat
completions (OpenAI, vLLM, llama.cpp, Ollama, LiteLLM ...):

    BELUGA_LLM_URL      base address, e.g. http://localhost:11434/v1; without it the graph `answers` is not deployed
    BELUGA_LLM_MODEL    the model's name, as the server knows it
    BELUGA_LLM_API_KEY  sent as bearer token, if set; it never appears in logs, errors, chunks or results

    run = await beluga.start("answers", {"prompt": "Who was Irene Adler?"})
    async for token in run.chunks(...): ...

What a retry means here: an attempt that fails in mid-answer is followed by a new request, whose answer may read
differently. Its tokens are another incarnation's, so readers never see two answers mixed.
"""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from pydantic import BaseModel, Field

from beluga_stream import Graph, Retry, context, node
from beluga_stream.errors import ExecutionFailed, InvalidConfig, ResourceExhausted

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # the same request may succeed later


class Question(BaseModel):
    """What to ask. `system` sets the tone; the temperature is 0 unless asked for otherwise."""

    prompt: str = Field(min_length=1)
    system: str = ""
    temperature: float = Field(default=0, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)


class Answer(BaseModel):
    """The whole answer."""

    text: str


@dataclass(frozen=True)
class Endpoint:
    """Where the model is. The key stays out of `repr`, and so out of logs and tracebacks."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls) -> "Endpoint | None":
        url = os.environ.get("BELUGA_LLM_URL", "").strip().rstrip("/")
        if not url:
            return None
        model = os.environ.get("BELUGA_LLM_MODEL", "").strip()
        if not model:
            raise InvalidConfig("BELUGA_LLM_URL is set but BELUGA_LLM_MODEL is not: name the model to ask")
        return cls(url, model, os.environ.get("BELUGA_LLM_API_KEY", "").strip())


# The exceptions are named, since most failures of a model's server are final: a wrong key stays wrong.
@node(
    retry=Retry(4, on=(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ResourceExhausted)),
    timeout=300,
)
async def answer(question: Question) -> AsyncIterator[str]:
    """Yield the answer's tokens as the model produces them."""
    endpoint = Endpoint.from_environment()
    if endpoint is None:
        raise InvalidConfig("no language model is configured: set BELUGA_LLM_URL and BELUGA_LLM_MODEL")
    headers = {"Idempotency-Key": context().idempotency_key}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    # The node's timeout bounds the whole answer; here only a server that has gone silent is given up.
    limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        session.post(
            f"{endpoint.url}/chat/completions",
            json=_request(question, endpoint.model),
            headers=headers,
            allow_redirects=False,  # the key goes to the configured address and nowhere else
        ) as response,
    ):
        if response.status != 200:
            _refuse(response.status, endpoint)
        async for token in _tokens(response):
            yield token


def _request(question: Question, model: str) -> dict[str, object]:
    messages = [{"role": "system", "content": question.system}] if question.system else []
    return {
        "model": model,
        "messages": [*messages, {"role": "user", "content": question.prompt}],
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
        "stream": True,
    }


def _refuse(status: int, endpoint: Endpoint) -> None:
    # Without the body: servers like to quote the key they did not accept.
    if status in _BUSY:
        raise ResourceExhausted(f"{endpoint.url} answered {status} for model {endpoint.model}; trying later may help")
    if status in {401, 403}:
        raise InvalidConfig(f"{endpoint.url} refused the key ({status}): check BELUGA_LLM_API_KEY")
    raise ExecutionFailed(f"{endpoint.url} answered {status} for model {endpoint.model}")


async def _tokens(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Read the server-sent events up to `[DONE]`. A stream that ends without it was cut off, and is no answer."""
    async for raw in response.content:
        line = raw.decode("utf-8").strip()
        if not line.startswith("data:"):
            continue  # comments that keep the connection open, event names, blank lines
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if event.get("error"):
            raise ResourceExhausted("the model's server broke off with an error in mid-answer")
        for choice in event.get("choices", ()):
            if token := (choice.get("delta") or {}).get("content"):
                yield token
    raise aiohttp.ClientPayloadError("the answer ended without [DONE]")


def gather(tokens: list[str]) -> Answer:
    return Answer(text="".join(tokens))


def build() -> Graph[Question, Answer]:
    graph = Graph[Question, Answer]("answers")
    tokens = graph.add_node(answer, graph.input)
    graph.set_finish_point(graph.add_node(gather, tokens))
    return graph


# A graph that could only fail is not deployed: a start is then refused at once, as an unknown graph.
if Endpoint.from_environment() is not None:
    answers = build()
