"""The durable graphs of the contract of workflow engines. An engine that runs what is deployed deploys this module."""

from ..api.graph import Graph
from ..api.signal import Signal
from .contract_works import breaks, counted, double, forever, join_texts, spell, strip, words

answer = Signal("contract-answer", str)

spelled = Graph[str, list[str]]("contract-durable-spelled", durable=True)
_stripped = spelled.add_node(strip, spelled.input)
spelled.set_finish_point(spelled.add_node(spell, spelled.add_node(words, _stripped)))

nested = Graph[str, int]("contract-durable-nested", durable=True)
nested.set_finish_point(nested.add_node(double, nested.add_node(counted, nested.input)))

broken = Graph[str, str]("contract-durable-broken", durable=True)
broken.set_finish_point(broken.add_node(breaks, broken.input))

asking = Graph[str, str]("contract-durable-asking", durable=True)
_asked = asking.add_node(strip, asking.input)
asking.set_finish_point(asking.add_node(join_texts, _asked, asking.wait(answer, after=_asked, timeout=600)))

endless = Graph[str, str]("contract-durable-endless", durable=True)
endless.set_finish_point(endless.add_node(forever, endless.input))

WORKS = (spelled, nested, broken, asking, endless)
