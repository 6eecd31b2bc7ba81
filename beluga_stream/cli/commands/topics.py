"""`beluga topics`: list, apply, check."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker, Topics

app = typer.Typer(help="Topics: the engine's and those declared in topics/.", no_args_is_help=True)


@app.command("list")
def list_topics(*, topics: Topics = None, broker: Broker = None, as_json: AsJson = False) -> None:
    """Every topic that is declared, and how it stands on the broker.

    Example: beluga topics list
    """
    from .. import declared

    perform(declared.list_topics(folder=topics, broker=broker, as_json=as_json), as_json=as_json)


@app.command("apply")
def apply_topics(*, topics: Topics = None, broker: Broker = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; nothing that exists is altered.

    Example: beluga topics apply --broker kafka:9092
    """
    from .. import declared

    perform(declared.apply_topics(folder=topics, broker=broker, as_json=as_json), as_json=as_json)


@app.command("check")
def check(
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="An earlier document of `beluga docs asyncapi`, or - to read it; else: the published graphs.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare both ways: earlier and later processes run side by side.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Assume that writers also send members which their types do not name: then a new optional member is a "
            "break, since it may be there already as something else.",
        ),
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Accept this break, named as it is reported; may be repeated."),
    ] = None,
    agents: Agents = None,
    topics: Topics = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Compare the types of topics and graphs with those of before; exit code 1 if something breaks.

    What is read (events, inputs, signals) must take what was valid before; what is written (outputs, chunks) must be
    readable by the earlier types. docs/compatibility.md tells the rules.

    Example: beluga topics check --against asyncapi.json
    """
    from .. import checking

    work = checking.check(
        against=against,
        full=full,
        strict=strict,
        accept=accept or [],
        agents=agents,
        folder=topics,
        broker=broker,
        as_json=as_json,
    )
    perform(work, as_json=as_json)
