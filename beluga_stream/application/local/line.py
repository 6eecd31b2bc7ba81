"""Chains of plain handlers, run without reducer, queue and timers: what each step gives is the next one's input.

The outcome is the local engine's in every case (tests/unit/test_line.py compares them): the same checks of values, the
same retries and pauses, the same errors. What the chain does not need is left out, since it costs more than short
steps do.
"""

import asyncio
import secrets
from typing import Any

import orjson

from ...bounds import cancels_so_far
from ...domain.definition import EdgeMode, Node, NodeKind, OnFailure
from ...domain.ids import INPUT, NodeName
from ...domain.payload import Json
from ...domain.retry import delay_ms
from ...errors import NotSerializable, RunFailed
from ...ports.handlers import Handler, Program
from ..execution.context import Context
from ..execution.conversion import declared_result, input_json, outcome_sent, own, sent
from ..execution.verdict import Completed, Failed
from .watched import WatchedExecutions


class Line:
    """One chain, ready to run."""

    def __init__(self, program: Program, nodes: list[Node]) -> None:
        self._program = program
        self._steps = [(node, program.handlers[node.name]) for node in nodes]
        blocking = [_blocks(node, handler) for node, handler in self._steps]
        ends = [at for at, blocks in enumerate([*blocking, False]) if not blocks]
        self._blocking_until = [min(end for end in ends if end >= at) for at in range(len(blocking))]

    @classmethod
    def of(cls, program: Program) -> "Line | None":
        """The chain of this program; None for one that needs the engine."""
        definition = program.definition
        after = {edge.source: edge for edge in definition.edges}
        by_name = {node.name: node for node in definition.nodes}
        if definition.kind != "chain" or definition.limits or len(after) != len(definition.edges):
            return None
        nodes: list[Node] = []
        at: NodeName = INPUT
        while at in after:
            at = after[at].target
            nodes.append(by_name[at])
        plain = all(_is_plain(node, program.handlers.get(node.name)) for node in nodes)
        return cls(program, nodes) if plain and len(nodes) == len(definition.nodes) else None

    async def invoke(self, executions: WatchedExecutions, value: Any) -> Any:
        """The output for one input. Raises `InvalidInput` and `RunFailed`."""
        json = sent(input_json(self._program, value))
        run, place = secrets.token_hex(16), 0
        tries = [_Tries() for _ in self._steps]
        cancels = cancels_so_far()
        while place < len(self._steps):
            end = self._blocking_until[place] if executions.stretches else place
            if end > place:
                steps = [(self._steps[i][1], self._context(run, i, tries[i])) for i in range(place, end)]
                outcomes = await executions.stretch(steps, json)
            else:
                outcomes = [await self._one(executions, run, place, tries[place], json)]
            if cancels_so_far() > cancels:
                raise asyncio.CancelledError  # nobody waits any more, whatever the step has made of being told so
            for outcome in outcomes:
                if isinstance(outcome, Completed):
                    json, place = outcome.output, place + 1
                else:
                    await self._pause(run, self._steps[place][0], tries[place], outcome)
        return declared_result(self._program, json)

    async def _one(
        self, executions: WatchedExecutions, run: str, place: int, tries: "_Tries", value: Json
    ) -> Completed | Failed:
        node, handler = self._steps[place]
        outcome = await executions.run(
            handler,
            {handler.parameters[0].name: own(value)},
            self._context(run, place, tries),
            timeout_ms=node.timeout_ms,
            emit=_nobody,
        )
        return outcome_sent(handler, outcome, node.name, tries.count)

    async def _pause(self, run: str, node: Node, tries: "_Tries", failed: Failed) -> None:
        """Wait before the next attempt. Raises `RunFailed` when there is none."""
        if failed.retryable and tries.count < node.retry.attempts:
            pause = delay_ms(node.retry, tries.count, run, node.name, asked_ms=failed.failure.retry_after_ms)
            await asyncio.sleep(pause / 1000)
            tries.count += 1
            return
        often = f" (after {tries.count} attempts)" if failed.retryable and tries.count > 1 else ""
        raise RunFailed(
            f"graph {self._program.definition.name!r} failed: {failed.failure.message}{often}",
            reason=failed.failure.code,
            node=failed.failure.node,
            attempt=failed.failure.attempt,
        ) from failed.error

    def _context(self, run: str, place: int, tries: "_Tries") -> Context:
        name = self._steps[place][0].name
        return Context(
            run_id=run,
            graph=self._program.definition.name,
            node=name,
            attempt=tries.count,
            incarnation=f"{run[:8]}{tries.count:04x}",
            idempotency_key=f"{run}/{name}",
            heartbeat_details=tries.told,
            _beat=tries.tell,
        )


class _Tries:
    """A step's attempts: how many, and what the last one told of how far it is."""

    __slots__ = ("count", "told")

    def __init__(self) -> None:
        self.count = 1
        self.told: Json = None

    async def tell(self, details: object) -> None:
        if details is None:
            return
        try:
            orjson.dumps(details)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise NotSerializable(f"the value cannot become JSON: {error}") from error
        self.told = details


def _blocks(node: Node, handler: Handler) -> bool:
    """Whether it may share a thread with its neighbours: nothing has to end it, or be opened for it."""
    plain = not handler.streams and not handler.resources and handler.cache is None
    return handler.executor == "thread" and plain and node.timeout_ms is None


def _is_plain(node: Node, handler: Handler | None) -> bool:
    special = node.limits or node.resume or node.has_fallback or node.on_failure is not OnFailure.FAIL
    return (
        handler is not None
        and node.kind in (NodeKind.TASK, NodeKind.STREAM)
        and not special
        and not handler.branches
        and handler.executor != "process"
        and len(handler.parameters) == 1
        and handler.parameters[0].mode is EdgeMode.VALUE
    )


async def _nobody(chunk: Json) -> None:
    """Nobody reads the chunks of a run whose result is wanted."""
