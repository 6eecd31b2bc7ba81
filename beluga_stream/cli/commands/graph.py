"""`beluga graph`: list, show, validate."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker, Topics

app = typer.Typer(help="Graphs: list, draw and check them.", no_args_is_help=True)


@app.command("list")
def list_graphs(*, agents: Agents = None, broker: Broker = None, as_json: AsJson = False) -> None:
    """The graphs of the deployment here; with --broker those that were published there.

    Example: beluga graph list
    """
    from .. import drawing

    perform(drawing.list_graphs(agents=agents, broker=broker, as_json=as_json), as_json=as_json)


@app.command("show")
def show_graph(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The graph's name.", show_default=False)],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    agents: Agents = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Draw a graph: each node under the last one it waits for.

    Example: beluga graph show stories --mermaid
    """
    from .. import drawing

    work = drawing.show_graph(name, mermaid=mermaid, agents=agents, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


@app.command("validate")
def validate(*, agents: Agents = None, topics: Topics = None, as_json: AsJson = False) -> None:
    """Load all graphs, triggers and topics as a worker does; what is wrong is named with file and line.

    Example: beluga graph validate --agents agents
    """
    from .. import drawing

    perform(drawing.validate(agents=agents, topics_folder=topics, as_json=as_json), as_json=as_json)
