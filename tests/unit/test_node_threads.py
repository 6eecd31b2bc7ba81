"""What an async handler calls, and what may block, has the threads of its execution."""

import threading
from contextvars import ContextVar

from beluga_stream.application.execution.node_threads import current, in_node_thread
from beluga_stream.application.execution.threads import Threads


async def test_what_a_handler_calls_has_a_thread_of_its_execution_and_its_context() -> None:
    said: ContextVar[str] = ContextVar("said")
    said.set("the caller's")

    def where(sign: str) -> str:
        return f"{threading.current_thread().name}{sign} {said.get()}"

    assert "beluga-node" not in await in_node_thread(where, "!")
    threads = Threads(1)
    token = current.set(threads)
    try:
        assert await in_node_thread(where, "!") == "beluga-node-1! the caller's"
    finally:
        current.reset(token)
        await threads.close()
