"""A graph is compiled when it is first used, by whichever thread that is."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beluga_stream import Graph


def test_threads_that_use_a_graph_first_at_once_compile_it_once() -> None:
    inside, other_is_done = threading.Event(), threading.Event()
    compiled: list[str] = []

    class Slow:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            compiled.append(threading.current_thread().name)
            inside.set()
            other_is_done.wait(0.2)  # as long as another thread needs to find the graph half compiled
            return handler.generate_schema(int)

    def keep(value: Slow) -> Slow:
        return value

    graph = Graph[Slow, Slow]("g")
    graph.set_finish_point(graph.add_node(keep, graph.input))

    def second() -> Any:
        assert inside.wait(10)
        try:
            return graph.compile()
        finally:
            other_is_done.set()

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(second)
        assert pool.submit(graph.compile).result(10) is other.result(10)
    assert len(set(compiled)) == 1
