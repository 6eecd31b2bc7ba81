"""What a process does and says while its broker is away."""

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError

from beluga_stream.adapters.kafka.patience import Patience
from beluga_stream.bootstrap.logs import Seldom
from beluga_stream.testing.virtual_time import run_virtually


class Broker:
    """Fails as the errors say, one each call, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "here"


def actions(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [(record.action, record.seconds) for record in caplog.records if hasattr(record, "seconds")]


def test_what_may_pass_is_tried_again() -> None:
    broker = Broker(KafkaConnectionError("refused"), KafkaTimeoutError("late"), OSError("cut off"))
    assert run_virtually(Patience("there", 10).insist("asking", broker), 1) == "here"
    assert broker.calls == 4


def test_what_will_not_pass_is_not_tried_again() -> None:
    broker = Broker(TopicAuthorizationFailedError("topic"))
    with pytest.raises(TopicAuthorizationFailedError):
        run_virtually(Patience("there", 10).insist("asking", broker), 1)
    assert broker.calls == 1


@pytest.mark.parametrize("error", [KafkaConnectionError("refused"), OSError("refused")])
def test_a_client_is_told_at_once(error: Exception) -> None:
    broker = Broker(error)
    with pytest.raises(type(error)):
        run_virtually(Patience("there", 10, insists=False).insist("asking", broker), 1)


def test_a_wait_is_told_soon_and_now_and_then_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience("there", 300)

    async def wait(seconds: float) -> None:
        async with patience.waiting("writing"):
            await asyncio.sleep(seconds)

    async def all_wait() -> None:
        await wait(1)
        await asyncio.gather(wait(70), wait(71), wait(72))

    with caplog.at_level(logging.WARNING):
        run_virtually(all_wait(), 1)
    assert actions(caplog) == [("broker.away", 5), ("broker.away", 35), ("broker.away", 65), ("broker.back", 70)]
    assert "Kafka at there has not answered for 5 s (writing): waiting, for 300 s at most" in caplog.text


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TimeoutError):
        run_virtually(Patience("there", 20).insist("asking", Broker(*[OSError("refused")] * 1000)), 1)
    assert actions(caplog) == [("broker.away", 5)]


def test_what_is_not_answered_is_given_up_when_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def waited(patience: Patience) -> "asyncio.Future[str]":
        coming: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await patience.answer("writing", coming)
        return coming

    patience = Patience("there", 20)
    for _ in range(2):  # the second on another loop
        assert run_virtually(waited(patience), 1).cancelled()
    assert actions(caplog)[0] == ("broker.away", 5)


def test_who_waits_may_be_cancelled_and_hears_what_goes_wrong() -> None:
    async def waits() -> None:
        patience, loop = Patience("there", 20), asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        waiting = asyncio.create_task(patience.answer("writing", first))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert first.cancelled()
        loop.call_later(1, second.set_exception, KafkaConnectionError("refused"))
        with pytest.raises(KafkaConnectionError):
            await patience.answer("writing", second)

    run_virtually(waits(), 1)


def test_who_is_cancelled_as_patience_ends_is_cancelled() -> None:
    """As after a process has stood still: both are due in one turn of the loop."""

    async def waits(first: str) -> None:
        patience, loop = Patience("there", 20), asyncio.get_running_loop()
        waiting = asyncio.create_task(patience.answer("writing", loop.create_future()))
        await asyncio.sleep(1)
        ends = [patience._look_after, waiting.cancel]
        for wait in patience._waits:
            wait.began -= 20
        for end in ends if first == "patience" else reversed(ends):
            end()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run_virtually(waits("patience"), 1)
    run_virtually(waits("who waits"), 1)


def test_the_broker_is_back_though_who_told_of_it_waits_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def waits() -> None:
        patience, loop = Patience("there", 300), asyncio.get_running_loop()
        first, second, third = (loop.create_future() for _ in range(3))
        telling = asyncio.create_task(patience.answer("reading", first))
        await asyncio.sleep(2)
        following = asyncio.create_task(patience.answer("writing", second))
        await asyncio.sleep(4)
        telling.cancel()
        await asyncio.wait({telling})
        loop.call_later(14, second.set_result, None)
        await following
        loop.call_later(1, third.set_result, None)
        await patience.answer("writing", third)

    run_virtually(waits(), 1)
    assert actions(caplog) == [("broker.away", 5), ("broker.back", 20)]


def test_who_waits_after_a_word_that_nobody_waits_for_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    async def waits() -> None:
        patience, loop = Patience("there", 300), asyncio.get_running_loop()
        waiting = asyncio.create_task(patience.answer("reading", loop.create_future()))
        await asyncio.sleep(6)
        waiting.cancel()
        await asyncio.wait({waiting})
        answered = loop.create_future()
        loop.call_later(1, answered.set_result, None)
        await patience.answer("writing", answered)

    run_virtually(waits(), 1)
    assert actions(caplog) == [("broker.away", 5), ("broker.back", 7)]


def test_a_second_absence_is_told_as_soon_as_the_first(caplog: pytest.LogCaptureFixture) -> None:
    async def waits() -> None:
        patience, loop = Patience("there", 300), asyncio.get_running_loop()
        for seconds in (7, 26):
            answered = loop.create_future()
            loop.call_later(seconds, answered.set_result, None)
            await patience.answer("writing", answered)
            await asyncio.sleep(1)

    run_virtually(waits(), 1)
    assert actions(caplog) == [("broker.away", 5), ("broker.back", 7), ("broker.away", 5), ("broker.back", 26)]


def test_a_wait_that_was_told_of_ends_with_a_word_and_a_short_one_without(caplog: pytest.LogCaptureFixture) -> None:
    async def waits() -> None:
        patience, loop = Patience("there", 300), asyncio.get_running_loop()
        slow, quick = loop.create_future(), loop.create_future()
        loop.call_later(12, slow.set_result, None)
        waiting = asyncio.create_task(patience.answer("reading", slow))
        await asyncio.sleep(8)
        loop.call_later(1, quick.set_result, None)
        await patience.answer("writing", quick)
        assert actions(caplog) == [("broker.away", 5)]
        await waiting

    run_virtually(waits(), 1)
    assert actions(caplog) == [("broker.away", 5), ("broker.back", 12)]


def test_lines_that_are_alike_are_said_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("beluga_stream.bootstrap.logs.time.monotonic", lambda: now[0])
    seldom = Seldom()

    def said(text: str, *arguments: object) -> str | None:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, arguments, None)
        return record.getMessage() if seldom.filter(record) else None

    assert said("no node %d", 1) == "no node 1"
    assert said("no node %d", 2) is None
    assert said("something else") == "something else"
    assert said("no node %d", 3) is None
    now[0] += 31
    assert said("no node %d", 4) == "no node 4 (and 2 times since this was said last)"
    assert said("no node %d", 5) is None


@pytest.mark.parametrize("about", ["partition", "code"])
def test_lines_about_other_partitions_or_other_code_are_not_alike(about: str) -> None:
    seldom = Seldom()

    def said(which: int) -> bool:
        record = logging.LogRecord("mine", logging.ERROR, "", 0, "%s has lost records", (which,), None)
        setattr(record, about, which)
        return bool(seldom.filter(record))

    assert [said(1), said(2), said(1)] == [True, True, False]


def test_lines_of_others_are_all_said_by_a_handler_that_says_some_seldom() -> None:
    seldom = Seldom("aiokafka", "beluga_stream.adapters")

    def said(logger: str) -> bool:
        return bool(seldom.filter(logging.LogRecord(logger, logging.ERROR, "", 0, "no node", (), None)))

    for logger in ("aiokafka.conn", "beluga_stream.adapters.kafka.fetcher"):
        assert [said(logger), said(logger)] == [True, False]
    for logger in ("aiokafkaesque", "beluga_stream.bus", "mine"):
        assert [said(logger), said(logger)] == [True, True]


def test_what_the_web_server_says_of_callers_that_send_no_http_is_a_line_of_the_log_and_seldom() -> None:
    program = """
import logging
from beluga_stream.bootstrap.logs import configure_logs
from beluga_stream.bootstrap.settings import Settings

configure_logs(Settings.load(log_format="json"))
for _ in range(3):
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
logging.getLogger("uvicorn.error").info("Started server process")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"] == "Invalid HTTP request received."
