"""A durable graph of one node, as the only node of an event-driven graph."""

from datetime import timedelta

from beluga_stream import Graph


async def add_one(value: int) -> int:
    return value + 1


kept = Graph[int, int]("kept", durable=True, timeout=timedelta(minutes=10))
kept.set_finish_point(kept.add_node(add_one, kept.input))

keeping = Graph[int, int]("keeping", timeout=timedelta(minutes=10))
keeping.set_finish_point(keeping.add_node(kept, keeping.input, name="kept"))
