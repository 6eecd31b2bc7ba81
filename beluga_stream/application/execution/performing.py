"""The other side of `apart`: what the process does that has one execution to itself."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from ...domain.events import Failure
from ...domain.ids import GraphHash
from ...domain.payload import Json
from ...errors import CodeMissing
from ...ports.handlers import Program
from .apart import Answer, Beaten, Yielded, encoded, task_of
from .context import NODE_LOG, Context, RunLogger
from .execution import Executions
from .verdict import Completed, Failed

Tell = Callable[[bytes], Awaitable[None]]


async def perform(data: bytes, programs: Mapping[GraphHash, Program], executions: Executions, tell: Tell) -> bytes:
    """Do a task; `tell` takes what its worker must hear meanwhile. Its worker bounds it in time."""
    task = task_of(data)
    program = programs.get(task.definition)
    handler = None if program is None else program.handler(task.name, task.role)
    facts = task.facts
    if handler is None:
        message = f"{facts['node']}: the process of its own has no {task.name}@{task.definition}: deploy one version"
        return encoded(Answer(failed=Failed(Failure(CodeMissing.code, message), retryable=True)))

    async def beat(details: object) -> None:
        await tell(encoded(Beaten(details)))

    async def emit(chunk: Json) -> None:
        await tell(encoded(Yielded(chunk)))

    fields = {"run": facts["run_id"], "graph": facts["graph"], "node": facts["node"], "attempt": facts["attempt"]}
    logger = RunLogger(NODE_LOG, fields)
    context = Context(**facts, logger=logger, _beat=beat)
    result = await executions.run(handler, task.values, context, timeout_ms=None, emit=emit)
    if isinstance(result, Completed):
        return encoded(Answer(completed=result))
    return encoded(Answer(failed=replace(result, error=None)))  # what was raised stays here
