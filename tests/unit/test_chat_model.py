"""Agents by a chat model, against a server of OpenAI's protocol that a test writes the answers of."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from beluga_stream import Retry
from beluga_stream.errors import DependencyFailed, InvalidConfig, RunFailed, TimedOut
from beluga_stream.patterns import (
    Assign,
    Budget,
    ChatModel,
    Finish,
    Reply,
    Transcript,
    Usage,
    Verdict,
    evaluator,
    supervisor,
)

ONCE = Retry(1)
Answer = Callable[[dict[str, Any]], str | web.Response]
Serve = Callable[[Answer], Awaitable[ChatModel]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> ChatModel:
        async def complete(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == "Bearer sesame"
            said = answer(await request.json())
            if isinstance(said, web.Response):
                return said
            message = {"role": "assistant", "content": said}
            return web.json_response(
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "small",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
                }
            )

        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        site = web.TCPSite(runners[-1], "127.0.0.1", 0)
        await site.start()
        port = runners[-1].addresses[0][1]
        return ChatModel("small", f"http://127.0.0.1:{port}/v1", "sesame", prices=(1.0, 10.0))

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_an_agent_reads_the_transcript_and_says_what_the_model_says(serve: Serve) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> str:
        asked.append(request)
        return "two sugars"

    model = await serve(answer)
    reply = await model.agent("Be brief.")(Transcript(task="tea?").said("ann", "with milk"))
    assert reply == Reply(text="two sugars", usage=Usage(tokens=110, cost=0.0002))
    (request,) = asked
    assert (request["model"], [one["role"] for one in request["messages"]]) == ("small", ["system", "user", "user"])
    assert "ann: with milk" in request["messages"][-1]["content"]


async def test_a_model_decides_in_json_and_a_budget_ends_it(serve: Serve) -> None:
    def answer(request: dict[str, Any]) -> str:
        told = request["messages"][0]["content"]
        if "Answer with JSON" not in told:
            return "done that"
        assert "usage" not in told, "nobody asks a model what it costs"
        assert request["response_format"] == {"type": "json_object"}
        return json.dumps({"to": "worker", "task": "go on"})

    model = await serve(answer)
    decide = model.chooser(Assign | Finish, "Lead the team.")
    team = supervisor("team", decide, {"worker": model.agent("Work.")}, budget=Budget(tokens=150), retry=ONCE)
    ended = await team.invoke("tea")
    assert (ended.stopped, ended.usage.tokens) == ("budget", 220)
    assert [turn.text for turn in ended.turns] == ["go on", "done that"]


async def test_an_answer_that_is_no_json_fails_the_turn(serve: Serve) -> None:
    model = await serve(lambda request: "I would rather not")
    essay = evaluator("essay", lambda transcript: "draft", model.chooser(Verdict, "Judge."), retry=ONCE)
    with pytest.raises(RunFailed, match=r"did not answer as it was asked to: Invalid JSON: [^\n]*\Z"):
        await essay.invoke("tea")


async def test_an_answer_that_is_no_json_may_be_better_the_next_time(serve: Serve) -> None:
    answers = iter(["I would rather not", json.dumps({"accepted": True})])
    model = await serve(lambda request: next(answers))
    judge = model.chooser(Verdict, "Judge.")
    essay = evaluator("essay", lambda transcript: "draft", judge, retry=Retry(2, first=0.001))
    assert (await essay.invoke("tea")).stopped == "answered"


def said(**message: Any) -> web.Response:
    """An answer whose one choice is this message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": message.pop("finish", "stop")}
    return web.json_response({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (said(content=None, tool_calls=[], finish="tool_calls"), r"finish_reason='tool_calls'\)\. .* without tools"),
        (said(content="", finish="length"), "finish_reason='length'.* within max_tokens"),
        (said(content=None, refusal="I must not"), "'stop'\\): I must not"),
    ],
    ids=["tools", "all of it thought", "refused"],
)
async def test_an_answer_without_a_text_is_none_and_says_why(serve: Serve, answer: web.Response, told: str) -> None:
    model = await serve(lambda request: answer)
    with pytest.raises(DependencyFailed, match=told):
        await model.agent("x")(Transcript(task="tea"))


async def test_a_model_may_have_nothing_to_say_and_count_only_in_part(serve: Serve) -> None:
    answer = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    model = await serve(lambda request: web.json_response(answer))
    assert await model.ask([]) == Reply(text="", usage=Usage(tokens=3, cost=0.000003))


async def test_an_answer_that_trickles_is_late(serve: Serve) -> None:
    async def trickle(request: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        answer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not answer.is_closing():
                answer.write(b" ")
                await answer.drain()
                await asyncio.sleep(0.001)
        answer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        model = ChatModel(
            "small", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "sesame", timeout=timedelta(seconds=0.2)
        )
        async with asyncio.timeout(30):
            with pytest.raises(TimedOut, match=r"model 'small' did not answer within 0\.2 s"):
                await model.ask([])


async def test_a_client_is_made_in_a_thread_as_it_reads_all_certificates(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = list[threading.Thread](), ChatModel._client

    def noted(model: ChatModel) -> Any:
        made.append(threading.current_thread())
        return make(model)

    monkeypatch.setattr(ChatModel, "_client", noted)
    await (await serve(lambda request: "yes")).ask([])
    assert made[0] is not threading.main_thread()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>Sign in</html>", content_type="application/json"),
        web.json_response({"choices": [{"index": 0, "finish_reason": "stop"}]}),
        web.json_response({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []}),
        web.json_response({"error": {"message": "some servers say this with 200"}}),
        web.Response(text="<html>It works!</html>", content_type="text/html"),
        said(content=[{"type": "text", "text": "tea"}]),
    ],
    ids=["no JSON", "no message", "empty", "an error with 200", "a page", "parts"],
)
async def test_an_answer_that_is_none_says_what_to_look_at(serve: Serve, answer: web.Response) -> None:
    model = await serve(lambda request: answer)
    with pytest.raises(DependencyFailed, match=r"model 'small' answered with.*/v1 speak OpenAI's protocol"):
        await model.agent("x")(Transcript(task="tea"))


async def test_what_the_server_refuses_is_not_tried_again(serve: Serve) -> None:
    refused = {"error": {"message": "no such model"}}
    model = await serve(lambda request: web.json_response(refused, status=404))
    with pytest.raises(InvalidConfig, match=r"refuses the request with 404: .*no such model"):
        await model.agent("x")(Transcript(task="tea"))


async def test_a_server_that_is_busy_may_be_asked_again(serve: Serve) -> None:
    answers: Iterator[str | web.Response] = iter(
        [web.json_response({"error": {"message": "busy"}}, status=429), "at last"]
    )
    model = await serve(lambda request: next(answers))
    team = supervisor("team", lambda transcript: Finish(answer="x"), {"a": model.agent("x")})
    assert (await team.invoke("tea")).answer == "x"
    asked = evaluator("e", model.agent("x"), lambda transcript: Verdict(accepted=True), retry=Retry(2, first=0.001))
    assert (await asked.invoke("tea")).answer == "at last"


async def test_a_model_without_a_key_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InvalidConfig, match="set OPENAI_API_KEY"):
        await ChatModel("small").agent("x")(Transcript(task="tea"))


def test_a_timeout_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="timeout=0 is out of range"):
        ChatModel("small", timeout=0)


@pytest.mark.parametrize("prices", [5, (1.0,), (1.0, float("nan")), (-1.0, 0.0), "12"])
def test_prices_that_are_none_are_refused(prices: Any) -> None:
    with pytest.raises(InvalidConfig, match="give those of a million tokens"):
        ChatModel("small", prices=prices)


def test_a_key_is_not_shown() -> None:
    assert "sesame" not in repr(ChatModel("small", api_key="sesame"))
