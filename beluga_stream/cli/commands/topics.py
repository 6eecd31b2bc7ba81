"""`beluga topics`: list, apply."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

import typer

from ..exits import perform
from ..options import AsJson, Broker, Topics

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
