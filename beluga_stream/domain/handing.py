"""Signals for waits of child runs: each is handed on to one child, and none to a child that has no wait left for it.

A run's own waits come first. A child is handed as many signals of one name as its graph has waits for it (with a map
over graphs with waits: any number), and what is left is kept for the children that begin later.
"""

from .commands import SignalChild
from .draft import Draft
from .frozen import replace
from .ids import NodeKey, is_page, node_of
from .state import NodeStatus, Signalled


def hand_on(draft: Draft, signal: Signalled) -> bool:
    """Hand it to the child that listens for it and has been handed the fewest. False when there is none."""
    listening = [
        (draft.node(key).handed.get(signal.signal, 0), key)
        for key, node in draft.nodes.items()
        if node.status is NodeStatus.WAITING and node.child is not None and _takes_more(draft, key, signal.signal)
    ]
    if not listening:
        return False
    _hand(draft, min(listening, key=lambda found: found[0])[1], signal)
    return True


def hand_kept(draft: Draft, key: NodeKey) -> None:
    """A child begins, or goes on: it gets what came for it before."""
    for signal in draft.signals:
        if _takes_more(draft, key, signal.signal):
            draft.signals = tuple(other for other in draft.signals if other.id != signal.id)
            _hand(draft, key, signal)


def _takes_more(draft: Draft, key: NodeKey, signal: str) -> bool:
    child = draft.plan.child(node_of(key))
    most = 0.0 if child is None else child.takes(signal)
    if most > 0 and is_page(key):
        return True
    return draft.node(key).handed.get(signal, 0) < most


def _hand(draft: Draft, key: NodeKey, signal: Signalled) -> None:
    node = draft.node(key)
    assert node.child is not None, "only children are handed signals"
    handed = {**node.handed, signal.signal: node.handed.get(signal.signal, 0) + 1}
    draft.keep(key, replace(node, handed=handed))
    draft.commands.append(SignalChild(key, node.child, signal))
