"""Blackboard: sources of knowledge add to what is known, each when it can, until the problem is solved."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from pydantic import JsonValue

from ..api.graph import Graph
from ..api.retry import Seconds
from .calling import call, check_callable
from .members import members
from .options import TurnOptions, check_bound
from .transcript import Value


class Board(Value):
    """What is known, and who has contributed, in order.

    `idle` are those that had nothing to add since it last changed. `stopped`: it is `solved`, nobody has more to add
    (`stuck`), or all `turns` were taken.
    """

    facts: dict[str, JsonValue]
    history: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    stopped: Literal["solved", "stuck", "turns"] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One that may contribute: `contribute` reads the board and gives facts to add or change, when `when` holds."""

    contribute: Callable[[Board], Awaitable[Mapping[str, Any]] | Mapping[str, Any]]
    when: Callable[[Board], bool] = lambda board: True  # noqa: ARG005 - always


def blackboard(
    name: str,
    sources: Mapping[str, Source],
    *,
    solved: Callable[[Board], bool],
    max_turns: int = 50,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[dict[str, JsonValue], Board]:
    """A graph from the first facts to the board as it was when the problem was solved, or nobody could go on.

    In each turn the first source that can contributes; those that stand earlier are asked first. One that adds
    nothing new is not asked again until the board has changed. `options` say how each turn is run. Raises
    `InvalidGraph` without sources.
    """
    check_bound(name, max_turns=max_turns)
    graph = Graph[dict[str, JsonValue], Board](name, timeout=run_timeout)
    known = members(name, "sources", sources)
    for one, source in known.items():
        check_callable(name, **{f"sources[{one!r}].contribute": source.contribute})

    async def turn(board: Board) -> Board:
        if solved(board):
            return board.model_copy(update={"stopped": "solved"})
        if len(board.history) >= max_turns:
            return board.model_copy(update={"stopped": "turns"})
        able = [one for one, source in known.items() if one not in board.idle and source.when(board)]
        if not able:
            return board.model_copy(update={"stopped": "stuck"})
        facts = {**board.facts, **await call(known[able[0]].contribute, board)}
        history = (*board.history, able[0])
        idle = (*board.idle, able[0]) if facts == board.facts else ()
        return board.model_copy(update={"facts": facts, "history": history, "idle": idle})

    pinned = graph.add_node(pin, graph.input)
    # One pass more than turns: the last one only looks.
    graph.set_finish_point(graph.add_loop(turn, pinned, until=has_stopped, max_passes=max_turns + 1, **options))
    return graph


def pin(facts: dict[str, JsonValue]) -> Board:
    """The board as it is at first."""
    return Board(facts=facts)


def has_stopped(board: Board) -> bool:
    return board.stopped is not None
