import asyncio
from datetime import timedelta
from beluga_stream import Chunk, Graph, Retry, Signal, Topic, chain, connect, join
from handlers import *
# 1 chain
words = chain(clean, count)                                       # Chain[str, int]
print(asyncio.run(words.invoke(" to be ")))

# 2 diamond, 4 map, 5 streams
stories = Graph[Doc, Report]("stories")
sections = stories.add_node(split, stories.input)                 # Ref[list[str]]
found = stories.add_map(keywords, sections, max_parallel=8)       # Ref[list[list[str]]]
lines = stories.add_node(digest, sections, resume=True)           # StreamRef[str]
stories.add_node(narrate, lines.stream)                           # reads while digest runs
stories.set_finish_point(stories.add_node(report, found, lines))  # collected: list[str]

# seed/LangGraph form, for graphs built from data
g = Graph[Doc, str]("plain")
g.add_node("split", split)
g.add_node("outline", outline)
g.add_edge("split", "outline")                   # into="sections" where ambiguous
g.set_entry_point("split")
g.set_finish_point("outline")

# 3 route by type; or ref.when(predicate)
desk = Graph[Doc, Report]("desk")
kind = desk.add_node(triage, desk.input)
desk.set_finish_point(desk.first(desk.add_node(brief, kind.case(Short)),
                                 desk.add_node(deep, kind.case(Long))))

# 6 trigger (CloudEvents or JSON detected; m.id, m.source, m.headers, m.data)
documents = Topic("documents.submitted", Doc)
stories.trigger(documents, where=lambda m: m.data.text != "", idempotency_key=lambda m: m.id)

# 7 windowed join
settle = Graph[Sale, Receipt]("settle")
settle.set_finish_point(settle.add_node(settle_sale, settle.input))
pair = join(Topic("orders", Order).by(lambda o: o.id),
            Topic("payments", Payment).by(lambda p: p.order_id),
            within=600, lateness=60, on_missing="start")  # Join[tuple[Order|None, Payment|None]]
settle.trigger(pair, lambda p: Sale(order=p[0], payment=p[1]))

# 9 failure, 10 approval
approval = Signal("approval", Decision)
sale = Graph[Order, Receipt]("sale", durable=True)
asked = sale.add_node(ask, sale.input)
decision = sale.wait(approval, after=asked, timeout=timedelta(days=2), remind=timedelta(days=1))
paid = sale.add_node(charge, sale.input, retry=Retry(5, on=(ConnectionError,)), timeout=30,
                     fallback=invoice, compensate=refund)
sale.set_finish_point(sale.add_node(ship, paid, decision))

async def part47() -> None:
    # 8 client (8 and 12: inside an async def)
    async with connect() as beluga:
        run = await beluga.start(stories, Doc(text="..."), idempotency_key="doc-1")  # Run[Report]
        cursor = None
        async for event in run.stream():
            cursor = event.cursor
            if isinstance(event, Chunk): break
        async for line in beluga.run(stories, run.id).chunks(lines, after=cursor): print(line)
        print((await run.result(timeout=60)).text)
        held = await beluga.start(sale, Order(id="7"))
        await held.signal(approval, Decision(ok=True))
        await held.cancel("changed mind")
