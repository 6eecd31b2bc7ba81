"""Event-driven streaming orchestration of Python functions on Kafka.

Write handlers, join them with `Graph` or `chain`, run them here with `invoke`, on Kafka through
`connect()`. Every name below loads when it is first used, so that `import beluga_stream` is quick
and brings in no broker, no Faust and no Temporal.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.files.circuits import SharedCircuits as SharedCircuits
    from .adapters.redis.store import RedisStore as RedisStore
    from .adapters.sqlite.store import SQLiteStore as SQLiteStore
    from .adapters.sqlite.vectors import SQLiteVectors as SQLiteVectors
    from .api.buffer_memory import BufferMemory as BufferMemory
    from .api.buffer_memory import TokenBufferMemory as TokenBufferMemory
    from .api.buffer_memory import WindowMemory as WindowMemory
    from .api.bulkhead import Bulkhead as Bulkhead
    from .api.bus import MessageBus as MessageBus
    from .api.bus_message import BusMessage as BusMessage
    from .api.cache import Cache as Cache
    from .api.chain import Chain as Chain
    from .api.chain import chain as chain
    from .api.circuit_breaker import CircuitBreaker as CircuitBreaker
    from .api.client import Client as Client
    from .api.client import Run as Run
    from .api.client import RunStatus as RunStatus
    from .api.features import Defaults as Defaults
    from .api.features import Features as Features
    from .api.gathering import Join as Join
    from .api.gathering import Together as Together
    from .api.gathering import batch as batch
    from .api.gathering import debounce as debounce
    from .api.gathering import join as join
    from .api.graph import START as START
    from .api.graph import Graph as Graph
    from .api.hedge import Hedge as Hedge
    from .api.history import History as History
    from .api.history import Turn as Turn
    from .api.key_value_memory import KeyValueMemory as KeyValueMemory
    from .api.limit import Limit as Limit
    from .api.memory import Memory as Memory
    from .api.message import Message as Message
    from .api.node import node as node
    from .api.provider import Provider as Provider
    from .api.provider import Runner as Runner
    from .api.rate_limit import RateLimit as RateLimit
    from .api.ref import Ref as Ref
    from .api.ref import StreamRef as StreamRef
    from .api.resource import INJECTED as INJECTED
    from .api.resource import Resource as Resource
    from .api.resource import resource as resource
    from .api.retry import Retry as Retry
    from .api.retry import Seconds as Seconds
    from .api.runnable import Runnable as Runnable
    from .api.scheduler import Scheduled as Scheduled
    from .api.scheduler import Scheduler as Scheduler
    from .api.signal import Signal as Signal
    from .api.stream import Outcome as Outcome
    from .api.stream import Stream as Stream
    from .api.subscription import Subscription as Subscription
    from .api.summary_memory import SummaryMemory as SummaryMemory
    from .api.task import Task as Task
    from .api.topic import Keyed as Keyed
    from .api.topic import Topic as Topic
    from .api.trigger import OnRun as OnRun
    from .api.trigger import on_run as on_run
    from .api.vector_memory import VectorMemory as VectorMemory
    from .api.workflow import Workflow as Workflow
    from .application.clients.results import Chunk as Chunk
    from .application.clients.results import Event as Event
    from .application.clients.results import NodeChanged as NodeChanged
    from .application.clients.results import RunChanged as RunChanged
    from .application.clients.results import Superseded as Superseded
    from .application.execution.context import Context as Context
    from .application.execution.context import context as context
    from .application.execution.middleware import Execution as Execution
    from .application.execution.middleware import Middleware as Middleware
    from .application.execution.middleware import Proceed as Proceed
    from .application.in_process.in_process import InProcessStore as InProcessStore
    from .application.in_process.tally import Metrics as Metrics
    from .bootstrap.bus import kafka_bus as kafka_bus
    from .bootstrap.bus import local_bus as local_bus
    from .bootstrap.orchestrator import Orchestrator as Orchestrator
    from .bootstrap.temporal import temporal_worker as temporal_worker
    from .errors import BelugaError as BelugaError
    from .errors import InvalidGraph as InvalidGraph
    from .ports.bus import DeadLetter as DeadLetter

    app: Any
    """The Faust app of this deployment: `faust -A beluga_stream worker`."""

_HOMES = {
    "adapters.redis.store": ("RedisStore",),
    "adapters.sqlite.store": ("SQLiteStore",),
    "adapters.sqlite.vectors": ("SQLiteVectors",),
    "api.buffer_memory": ("BufferMemory", "TokenBufferMemory", "WindowMemory"),
    "api.cache": ("Cache",),
    "adapters.files.circuits": ("SharedCircuits",),
    "api.bulkhead": ("Bulkhead",),
    "api.bus": ("MessageBus",),
    "api.bus_message": ("BusMessage",),
    "api.chain": ("Chain", "chain"),
    "api.circuit_breaker": ("CircuitBreaker",),
    "api.client": ("Client", "Run", "RunStatus"),
    "api.features": ("Defaults", "Features"),
    "api.gathering": ("Join", "Together", "batch", "debounce", "join"),
    "api.graph": ("START", "Graph"),
    "api.history": ("History", "Turn"),
    "api.key_value_memory": ("KeyValueMemory",),
    "api.hedge": ("Hedge",),
    "api.limit": ("Limit",),
    "api.memory": ("Memory",),
    "api.message": ("Message",),
    "api.node": ("node",),
    "api.provider": ("Provider", "Runner"),
    "api.rate_limit": ("RateLimit",),
    "api.ref": ("Ref", "StreamRef"),
    "api.resource": ("INJECTED", "Resource", "resource"),
    "api.retry": ("Retry", "Seconds"),
    "api.runnable": ("Runnable",),
    "api.scheduler": ("Scheduled", "Scheduler"),
    "api.signal": ("Signal",),
    "api.stream": ("Outcome", "Stream"),
    "api.summary_memory": ("SummaryMemory",),
    "api.subscription": ("Subscription",),
    "api.task": ("Task",),
    "api.topic": ("Keyed", "Topic"),
    "api.trigger": ("OnRun", "on_run"),
    "api.vector_memory": ("VectorMemory",),
    "application.execution.context": ("Context", "context"),
    "application.in_process.in_process": ("InProcessStore",),
    "application.execution.middleware": ("Execution", "Middleware", "Proceed"),
    "application.clients.results": ("Chunk", "Event", "NodeChanged", "RunChanged", "Superseded"),
    "application.in_process.tally": ("Metrics",),
    "api.workflow": ("Workflow",),
    "bootstrap.bus": ("kafka_bus", "local_bus"),
    "bootstrap.orchestrator": ("Orchestrator",),
    "bootstrap.temporal": ("temporal_worker",),
    "errors": ("BelugaError", "InvalidGraph"),
    "ports.bus": ("DeadLetter",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "INJECTED",
    "START",
    "BelugaError",
    "BufferMemory",
    "Bulkhead",
    "BusMessage",
    "Cache",
    "Chain",
    "Chunk",
    "CircuitBreaker",
    "Client",
    "Context",
    "DeadLetter",
    "Defaults",
    "Event",
    "Execution",
    "Features",
    "Graph",
    "Hedge",
    "History",
    "InProcessStore",
    "InvalidGraph",
    "Join",
    "KeyValueMemory",
    "Keyed",
    "Limit",
    "Memory",
    "Message",
    "MessageBus",
    "Metrics",
    "Middleware",
    "NodeChanged",
    "OnRun",
    "Orchestrator",
    "Outcome",
    "Proceed",
    "Provider",
    "RateLimit",
    "RedisStore",
    "Ref",
    "Resource",
    "Retry",
    "Run",
    "RunChanged",
    "RunStatus",
    "Runnable",
    "Runner",
    "SQLiteStore",
    "SQLiteVectors",
    "Scheduled",
    "Scheduler",
    "Seconds",
    "SharedCircuits",
    "Signal",
    "Stream",
    "StreamRef",
    "Subscription",
    "SummaryMemory",
    "Superseded",
    "Task",
    "Together",
    "TokenBufferMemory",
    "Topic",
    "Turn",
    "VectorMemory",
    "WindowMemory",
    "Workflow",
    "batch",
    "chain",
    "connect",
    "context",
    "debounce",
    "join",
    "kafka_bus",
    "local_bus",
    "node",
    "on_run",
    "resource",
    "temporal_worker",
]


def connect(address: str | None = None, *, token: str | None = None) -> "Client":
    """The client of the engine at this address of a broker (default: the settings'), for `async with`.

    `http://` and `https://` lead to a gateway, which may want a `token` (default: BELUGA_HTTP_TOKEN).
    """
    from .bootstrap import connect as connect_client  # noqa: PLC0415 - the wiring loads the broker's client

    client: Client = connect_client(address, token=token)
    return client


def __getattr__(name: str) -> Any:
    if name == "app":
        from .bootstrap import app_or_exit  # noqa: PLC0415 - only Faust's command line, and files that add to it

        return app_or_exit()
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
