"""A workflow that fails when it is told to: an orchestrator's, in a process of its own."""

from beluga_stream import Graph


async def weigh(grams: int) -> int:
    if grams < 0:
        raise ValueError("less than nothing")
    return grams


weighing = Graph[int, int]("weighing", durable=True)
weighing.set_finish_point(weighing.add_node(weigh, weighing.input))
