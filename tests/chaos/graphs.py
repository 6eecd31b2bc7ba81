"""The deployment under attack: every shape of graph, whose handlers answer with nonces and keep the ledger.

A nonce is new for each execution. So a value tells which execution made it, and a consumer that was
given the output of another execution than the accepted one shows it.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from beluga_stream.api.graph import Graph
from beluga_stream.api.retry import Retry
from beluga_stream.api.signal import Signal
from beluga_stream.api.topic import Topic
from beluga_stream.application.execution.context import Context, context
from tests.chaos.ledger import FOLDER, Ledger, Line

ITEMS, WIDE_ITEMS, CHUNKS = 12, 80, 8
SLOW_SECONDS = 3.0
"""Above `lease_after`, so that the node is held by a lease."""

PACE_SECONDS = 0.1, 20.0
NAP_SECONDS = 2.0
ANSWER_SECONDS = 540
"""How long a run waits for its signal: longer than any harm lasts."""

_WORK_SECONDS = 0.1, 0.5
_LOOP_PASSES = 60


class NotYet(Exception):
    """What a node that must be tried again raises."""


@cache
def _ledger() -> Ledger:
    return Ledger(Path(os.environ[FOLDER]))


def _nonce() -> str:
    return secrets.token_hex(8)


class _Execution:
    """One execution of a handler, from its first line in the ledger to its last."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._inputs = inputs
        self._context: Context = context()

    @property
    def attempt(self) -> int:
        return self._context.attempt

    async def begin(self) -> None:
        await self._write("begin")

    async def end(self, output: Any) -> None:
        await self._write("end", output)

    async def _write(self, kind: Any, output: Any = None) -> None:
        own = self._context
        line = Line(
            kind,
            own.run_id,
            own.graph,
            own.node,
            own.attempt,
            own.incarnation,
            os.getpid(),
            self._inputs,
            output,
            int(time.time() * 1000),
        )
        await _ledger().write(line)


async def _work(output: Any, **inputs: Any) -> Any:
    execution = _Execution(inputs)
    await execution.begin()
    await asyncio.sleep(random.uniform(*_WORK_SECONDS))
    await execution.end(output)
    return output


async def relay(value: str) -> str:
    return str(await _work(_nonce(), value=value))


async def merge(a: str, b: str, c: str) -> str:
    return str(await _work(_nonce(), a=a, b=b, c=c))


async def scatter(value: str) -> list[str]:
    return list(await _work([_nonce() for _ in range(ITEMS)], value=value))


async def scatter_wide(value: str) -> list[str]:
    return list(await _work([_nonce() for _ in range(WIDE_ITEMS)], value=value))


async def gather(values: list[str]) -> str:
    return str(await _work(_nonce(), values=values))


async def emit(value: str) -> AsyncIterator[str]:
    """Stream nonces, one after the other, so that a kill finds streams in their middle."""
    execution = _Execution({"value": value})
    await execution.begin()
    chunks = [_nonce() for _ in range(CHUNKS)]
    for chunk in chunks:
        await asyncio.sleep(random.uniform(*_WORK_SECONDS))
        yield chunk
    await execution.end(chunks)


async def fail_once(value: str) -> str:
    """Fail every first attempt."""
    execution = _Execution({"value": value})
    await execution.begin()
    await asyncio.sleep(random.uniform(*_WORK_SECONDS))
    if execution.attempt == 1:
        await execution.end(None)
        raise NotYet("the first attempt always fails")
    output = _nonce()
    await execution.end(output)
    return output


async def pace(value: str) -> str:
    """Take any time from a tenth of a second to twenty, the short ones being as many as the long ones."""
    execution = _Execution({"value": value})
    await execution.begin()
    least, most = PACE_SECONDS
    await asyncio.sleep(least * (most / least) ** random.random())
    output = _nonce()
    await execution.end(output)
    return output


async def slow(value: str) -> str:
    execution = _Execution({"value": value})
    await execution.begin()
    await asyncio.sleep(SLOW_SECONDS)
    output = _nonce()
    await execution.end(output)
    return output


def is_low(value: str) -> bool:
    return value[-1] < "8"


line = Graph[str, str]("line")
_ref = line.input
for _number in range(1, 6):
    _ref = line.add_node(relay, _ref, name=f"step{_number}")
line.set_finish_point(_ref)

diamond = Graph[str, str]("diamond")
_top = diamond.add_node(relay, diamond.input, name="top")
_sides = [diamond.add_node(relay, _top, name=name) for name in ("a", "b", "c")]
diamond.set_finish_point(diamond.add_node(merge, *_sides, name="bottom"))

fan = Graph[str, str]("fan")
_items = fan.add_map(relay, fan.add_node(scatter, fan.input, name="scatter"), max_parallel=6, name="each")
fan.set_finish_point(fan.add_node(gather, _items, name="gather"))

wide = Graph[str, str]("wide")
_items = wide.add_map(relay, wide.add_node(scatter_wide, wide.input, name="scatter"), name="each")
wide.set_finish_point(wide.add_node(gather, _items, name="gather"))

flow = Graph[str, str]("flow")
flow.set_finish_point(flow.add_node(gather, flow.add_node(emit, flow.input, name="emit"), name="gather"))

flaky = Graph[str, str]("flaky")
_tried = flaky.add_node(
    fail_once, flaky.add_node(relay, flaky.input, name="before"), retry=Retry(5, first=0.3), name="fail_once"
)
flaky.set_finish_point(flaky.add_node(relay, _tried, name="after"))

fork = Graph[str, str]("fork")
_asked = fork.add_node(relay, fork.input, name="ask")
_low = fork.add_node(relay, _asked.when(is_low), name="low")
_high = fork.add_node(relay, _asked.otherwise(), name="high")
fork.set_finish_point(fork.add_node(relay, fork.first(_low, _high, name="either"), name="after"))

pair = Graph[str, str]("pair")
pair.set_finish_point(pair.add_node(relay, pair.add_node(relay, pair.input, name="first"), name="second"))

nested = Graph[str, str]("nested")
_inner = nested.add_node(pair, nested.add_node(relay, nested.input, name="before"), name="inner")
nested.set_finish_point(nested.add_node(relay, _inner, name="after"))

loop = Graph[str, str]("loop")
_turned = loop.add_loop(
    relay,
    loop.add_node(relay, loop.input, name="before"),
    until=is_low,
    max_passes=_LOOP_PASSES,
    name="turn",
)
loop.set_finish_point(loop.add_node(relay, _turned, name="after"))

leased = Graph[str, str]("leased")
leased.set_finish_point(leased.add_node(relay, leased.add_node(slow, leased.input, name="slow"), name="after"))

paced = Graph[str, str]("paced")
_ref = paced.input
for _number in range(1, 4):
    _ref = paced.add_node(pace, _ref, name=f"pace{_number}")
paced.set_finish_point(_ref)

nap = Graph[str, str]("nap")
_tired = nap.add_node(relay, nap.input, name="before")
nap.set_finish_point(nap.add_node(relay, _tired, after=nap.sleep(NAP_SECONDS, after=_tired), name="after"))

asked = Graph[str, str]("asked")
_question = asked.add_node(relay, asked.input, name="ask")
_answer = asked.wait(Signal("answer", str), after=_question, timeout=ANSWER_SECONDS)
asked.set_finish_point(asked.add_node(relay, _answer, name="after"))

doomed = Graph[str, str]("doomed")
_doomed = doomed.add_node(slow, doomed.add_node(relay, doomed.input, name="before"), name="slow")
doomed.set_finish_point(doomed.add_node(relay, _doomed, name="after"))

triggered = Graph[str, str]("triggered")
triggered.set_finish_point(
    triggered.add_node(relay, triggered.add_node(relay, triggered.input, name="first"), name="second")
)
triggered.trigger(Topic(os.environ.get("CHAOS_EVENTS", "chaos.events"), str))
