"""`beluga demo` and `beluga dev`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker, Topics


def demo(
    *,
    broker: Broker = None,
    write_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Write a person of this name into the first story, and find them in its report.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Twelve stories go in as events; what they are about streams out.

    Needs no broker, but agents/ of the project's repository, which has its graphs and texts: run it there, or with
    BELUGA_AGENTS set to that folder. They take the extra `demo` of this package.

    Example: beluga demo --write-name "Zebulon Quimby"
    """
    from ..demonstration import demonstrate

    perform(demonstrate(broker=broker, write_name=write_name, as_json=as_json), as_json=as_json)


def dev(
    *,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Restart the engine when agents/ or topics/ change.")
    ] = True,
    agents: Agents = None,
    topics: Topics = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the embedded broker.")] = 9092,
    temporal: Annotated[bool, typer.Option("--temporal", help="Temporal's development server, too.")] = False,
    temporal_port: Annotated[int, typer.Option(min=1, max=64_535, help="Its port; its pages are 1000 above.")] = 7233,
    as_json: AsJson = False,
) -> None:
    """Broker, topics, engine and page of runs here, restarted on changes, and one screen that shows what happens.

    With BELUGA_BROKER set that broker is used, else an embedded one (in memory: nothing is kept when it stops).
    With --temporal durable graphs run, too; what Temporal knows is kept in .beluga. Ctrl-C stops everything.

    Example: beluga dev --port 9092
    """
    from ..development import develop

    work = develop(
        reload=reload,
        agents=agents,
        topics_folder=topics,
        port=port,
        temporal_port=temporal_port if temporal else None,
        as_json=as_json,
    )
    perform(work, as_json=as_json, when_stopped=0)
