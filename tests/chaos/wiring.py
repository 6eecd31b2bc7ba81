"""What each node must have been given: the graphs' edges, written down a second time and by hand.

The engine's own definitions are not asked, since they are part of what is judged.
"""

from collections.abc import Mapping

NAP_SECONDS = 2.0

INPUT = "input"

WIRING: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "line": {
        "step1": {"value": INPUT},
        "step2": {"value": "step1"},
        "step3": {"value": "step2"},
        "step4": {"value": "step3"},
        "step5": {"value": "step4"},
    },
    "diamond": {
        "top": {"value": INPUT},
        "a": {"value": "top"},
        "b": {"value": "top"},
        "c": {"value": "top"},
        "bottom": {"a": "a", "b": "b", "c": "c"},
    },
    "fan": {"scatter": {"value": INPUT}, "each": {"value": "scatter"}, "gather": {"values": "each"}},
    "wide": {"scatter": {"value": INPUT}, "each": {"value": "scatter"}, "gather": {"values": "each"}},
    "flow": {"emit": {"value": INPUT}, "gather": {"values": "emit"}},
    "flaky": {"before": {"value": INPUT}, "fail_once": {"value": "before"}, "after": {"value": "fail_once"}},
    "fork": {
        "ask": {"value": INPUT},
        "low": {"value": "ask"},
        "high": {"value": "ask"},
        "after": {"value": "either"},
    },
    "pair": {"first": {"value": INPUT}, "second": {"value": "first"}},
    "nested": {"before": {"value": INPUT}, "after": {"value": "inner"}},
    "loop": {"before": {"value": INPUT}, "turn": {"value": "before"}, "after": {"value": "turn"}},
    "leased": {"slow": {"value": INPUT}, "after": {"value": "slow"}},
    "paced": {"pace1": {"value": INPUT}, "pace2": {"value": "pace1"}, "pace3": {"value": "pace2"}},
    "nap": {"before": {"value": INPUT}, "after": {"value": "before"}},
    "asked": {"ask": {"value": INPUT}, "after": {"value": "answer"}},
    "doomed": {"before": {"value": INPUT}, "slow": {"value": "before"}, "after": {"value": "slow"}},
    "triggered": {"first": {"value": INPUT}, "second": {"value": "first"}},
}
"""For each graph and node: parameter -> where its value comes from."""

FINISH: Mapping[str, str] = {
    "line": "step5",
    "diamond": "bottom",
    "fan": "gather",
    "wide": "gather",
    "flow": "gather",
    "flaky": "after",
    "fork": "after",
    "pair": "second",
    "nested": "after",
    "loop": "after",
    "leased": "after",
    "paced": "pace3",
    "nap": "after",
    "asked": "after",
    "doomed": "after",
    "triggered": "second",
}

EITHER: Mapping[str, tuple[str, ...]] = {"either": ("low", "high")}
"""Nodes without a handler, and whose output they pass on."""

CHILDREN: Mapping[str, tuple[str, str, str]] = {"nested": ("inner", "pair", "before")}
"""Graphs with a subgraph: its node, its graph, and the node that feeds it."""

SIGNALLED: Mapping[str, str] = {"asked": "answer"}
"""Graphs that wait for a signal: the node that waits, which is named as the signal, and gives its value."""

ASLEEP: Mapping[str, tuple[str, str, float]] = {"nap": ("before", "after", NAP_SECONDS)}
"""Graphs that sleep: the nodes before and after, and for how many seconds."""
