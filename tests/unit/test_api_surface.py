"""What `import beluga_stream` gives, and what it costs."""

import subprocess
import sys

import pytest

import beluga_stream
from beluga_stream import RunStatus, blocking, errors

PUBLIC = """
INJECTED START BelugaError BufferMemory Bulkhead BusMessage Cache Chain Chunk CircuitBreaker Client Context DeadLetter
Defaults Event Execution Features Graph Hedge History InProcessStore InvalidGraph Join KeyValueMemory Keyed Limit
Memory Message MessageBus Metrics Middleware NodeChanged OnRun Orchestrator Outcome Proceed Provider RateLimit
RedisStore Ref Resource Retry Run RunChanged RunStatus Runnable Runner SQLiteStore SQLiteVectors Scheduled Scheduler
Seconds SharedCircuits Signal Stream StreamRef Subscription SummaryMemory Superseded Task Together TokenBufferMemory
Topic Turn VectorMemory WindowMemory Workflow batch chain connect context debounce join kafka_bus local_bus node on_run
resource temporal_worker
"""


def test_the_public_names_are_these() -> None:
    assert sorted(beluga_stream.__all__) == sorted(PUBLIC.split())
    assert set(beluga_stream.__all__) <= set(dir(beluga_stream))


@pytest.mark.parametrize("name", beluga_stream.__all__)
def test_every_name_is_there(name: str) -> None:
    assert hasattr(beluga_stream, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Grahp'"):
        _ = beluga_stream.Grahp


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_importing_loads_nothing_but_itself() -> None:
    code = (
        "import sys, beluga_stream\n"
        "heavy = {'faust', 'aiokafka', 'temporalio', 'typer', 'pydantic', 'networkx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def test_writing_a_graph_loads_no_broker_and_no_framework() -> None:
    names = " ".join(name for name in PUBLIC.split() if name not in ("Client", "Run", "RunStatus"))
    code = (
        f"import sys, beluga_stream\nfor name in {names.split()!r}: getattr(beluga_stream, name)\n"
        "print(sorted({'faust', 'aiokafka', 'temporalio', 'typer'} & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def test_the_page_of_the_api_can_read_what_a_list_of_runs_holds() -> None:
    """`list` in the class is the method, to whoever evaluates its annotation there, as pdoc does."""
    for client in (beluga_stream.Client, blocking.Client):
        assert client.list.__annotations__["return"] == list[RunStatus]


def test_the_tree_of_errors_is_drawn_with_each_of_them() -> None:
    drawn = errors.__doc__ or ""
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert "WorkflowDeadlock" in names
    assert [name for name in names if name not in drawn] == []
