"""The graphs that the benchmark runs: their handlers do next to nothing, so that the engine is what is measured."""

from collections.abc import AsyncIterator

from beluga_stream import Graph, Signal, Topic

ITEM_BYTES = 1024


async def add_one(value: int) -> int:
    return value + 1


async def spell(word: str) -> AsyncIterator[str]:
    for letter in word:
        yield letter


async def produce_items(count: int) -> list[str]:
    return [str(number).rjust(ITEM_BYTES, ".") for number in range(count)]


async def same(item: str) -> str:
    return item


async def count_items(items: list[str]) -> int:
    return len(items)


def line(name: str, length: int) -> Graph[int, int]:
    """A graph of so many steps, one after the other."""
    graph = Graph[int, int](name)
    step = graph.input
    for number in range(length):
        step = graph.add_node(add_one, step, name=f"step{number}")
    graph.set_finish_point(step)
    return graph


ten = line("ten", 10)
three = line("three", 3)

letters = Graph[str, list[str]]("letters")
letters.set_finish_point(letters.add_node(spell, letters.input))
letters.trigger(Topic("bench.words", str))

wide = Graph[int, int]("wide")
wide.set_finish_point(wide.add_node(count_items, wide.add_map(same, wide.add_node(produce_items, wide.input))))

held = Graph[str, int]("held")
passed = held.input
for number in range(4):
    passed = held.add_node(same, passed, name=f"step{number}")
held.set_finish_point(held.wait(Signal("go", int), after=passed, timeout=86_400))

one = line("one", 1)
family = Graph[int, int]("family")
family.set_finish_point(family.add_node(add_one, family.add_node(one, family.input)))
family.trigger(Topic("bench.flood", int))

dozing = Graph[int, None]("dozing")
dozing.set_finish_point(dozing.sleep(10))
