"""Blackboard: sources of knowledge add to what is known, each when it can, until the problem is solved."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack, cast

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..api.graph import Graph
from ..api.retry import Seconds
from ..errors import InvalidGraph, InvalidInput
from .calling import ask, call, check_callable
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
    """A source of knowledge: `contribute` reads the board and returns facts to add or change, if `when` holds.

    A fact is JSON, or what pydantic can turn into JSON. Without `when` it may always contribute. Both functions are
    async, or plain ones, which run in a thread.
    """

    contribute: Callable[[Board], Awaitable[Mapping[str, Any]] | Mapping[str, Any]]
    when: Callable[[Board], Awaitable[bool] | bool] | None = None


def blackboard(
    name: str,
    sources: Mapping[str, Source],
    *,
    solved: Callable[[Board], Awaitable[bool] | bool],
    max_turns: int = 50,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[dict[str, JsonValue], Board]:
    """A graph from the first facts to the board as it was when the problem was solved, or nobody could go on.

    In each turn the first source that can contributes; those that stand earlier are asked first. One that adds
    nothing new is not asked again until the board has changed. `options` say how each turn is run. Raises
    `InvalidGraph` without sources, and for one that is no `Source`.
    """
    check_bound(name, max_turns=max_turns)
    check_callable(name, solved=solved)
    graph = Graph[dict[str, JsonValue], Board](name, timeout=run_timeout)
    known = members(name, "sources", sources)
    for one, source in known.items():
        if not isinstance(cast("object", source), Source):
            raise InvalidGraph(
                f"graph {name!r}: sources[{one!r}] is a {type(source).__name__}: give Source(contribute)", graph=name
            )
        at = f"sources[{one!r}]"
        check_callable(name, **{f"{at}.contribute": source.contribute, f"{at}.when": source.when})

    async def first_able(board: Board) -> str | None:
        for one, source in known.items():
            if one not in board.idle and (source.when is None or await call(source.when, board)):
                return one
        return None

    async def turn(board: Board) -> Board:
        if await call(solved, board):
            return board.model_copy(update={"stopped": "solved"})
        if len(board.history) >= max_turns:
            return board.model_copy(update={"stopped": "turns"})
        able = await first_able(board)
        if able is None:
            return board.model_copy(update={"stopped": "stuck"})
        who = f"sources[{able!r}].contribute"
        facts = {**board.facts, **_as_json(name, who, await ask(name, who, known[able].contribute, board, Mapping))}
        history = (*board.history, able)
        idle = (*board.idle, able) if facts == board.facts else ()
        return board.model_copy(update={"facts": facts, "history": history, "idle": idle})

    pinned = graph.add_node(pin, graph.input)
    # One pass more than turns: the last one only looks.
    graph.set_finish_point(graph.add_loop(turn, pinned, until=has_stopped, max_passes=max_turns + 1, **options))
    return graph


def _as_json(graph: str, who: str, told: Mapping[str, Any]) -> dict[str, JsonValue]:
    """What a source gave, as it travels: models become mappings. Raises `InvalidInput` for what no JSON becomes."""
    try:
        facts: dict[str, JsonValue] = to_jsonable_python(told, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidInput(f"graph {graph!r}: {who} gave what cannot become JSON: {error}", graph=graph) from error
    return facts


def pin(facts: dict[str, JsonValue]) -> Board:
    """The board as it is at first."""
    return Board(facts=facts)


def has_stopped(board: Board) -> bool:
    return board.stopped is not None
