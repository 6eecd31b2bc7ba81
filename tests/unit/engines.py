"""A small engine for unit tests: programs by hand, and the roles over a log in memory, stepped by the test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.messages import Argument, NodeReady
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.application.worker.worker import Worker, WorkerOptions
from beluga_stream.domain.ids import GraphHash, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.handlers import Handler, Parameter, Program, Trigger
from beluga_stream.ports.log import Record

ANY: TypeAdapter[Any] = TypeAdapter(Any)
TOPICS = Topics(partitions=1)
RUN = RunId("a" * 32)


class HandClock:
    """A clock that the test moves; sleeping never ends by itself."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the test steps, and nothing sleeps")


def handler(call: Callable[..., Any], **options: Any) -> Handler:
    """A handler of one parameter."""
    return Handler(call, (Parameter("value", ANY),), ANY, **options)


def program(plan: Plan, handlers: Mapping[str, Handler], **options: Any) -> Program:
    named = {NodeName(NodeKey(name)): each for name, each in handlers.items()}
    return Program(plan.definition, named, ANY, ANY, **options)


@dataclass
class Deployed:
    programs: Mapping[GraphHash, Program]
    triggers: Sequence[Trigger] = ()

    def latest(self, graph: str) -> Program | None:
        return next((found for found in self.programs.values() if found.definition.name == graph), None)


@dataclass
class WorkerBench:
    """A worker with its log, clock and blobs."""

    program: Program
    options: WorkerOptions = field(default_factory=WorkerOptions)
    clock: HandClock = field(default_factory=HandClock)
    log: MemoryLog = field(default_factory=MemoryLog)
    executions: Executions = field(default_factory=Executions)

    def __post_init__(self) -> None:
        self.log.create(TOPICS.specs(["default"]))
        self.payloads = Payloads(MemoryBlobs())
        self.worker = self.another()

    def another(self) -> Worker:
        return Worker(
            topics=TOPICS,
            queues=["default"],
            deployment=Deployed({self.program.definition.hash: self.program}),
            appender=self.log,
            reader=self.log,
            payloads=self.payloads,
            executions=self.executions,
            clock=self.clock,
            options=self.options,
        )

    def work(self, node: str = "a", value: object = 1, attempt: int = 1, **changes: Any) -> Record:
        """A node-ready record."""
        ready = NodeReady(
            **{
                "run": RUN,
                "key": RUN,
                "root": RUN,
                "graph": self.program.definition.name,
                "definition": self.program.definition.hash,
                "node": NodeKey(node),
                "name": NodeName(NodeKey(node.partition("[")[0])),
                "attempt": attempt,
                "arguments": (Argument("value", Inline(value)),),
                "generation": 0,
                "timeout_ms": None,
                "at_ms": 0,
            }
            | changes
        )
        return Record(TOPICS.node_ready("default"), 0, 0, RUN.encode(), codec.node_ready.encode(ready))

    def done(self) -> list[Any]:
        """What the worker has reported."""
        return [codec.incoming.decode(record.value) for record in self.log.records(TOPICS.node_done, 0)]
