"""`beluga demo` and `beluga dev`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson, Broker


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
    """Twelve stories go in as events; what they are about streams out. Needs nothing but this package.

    Example: beluga demo --write-name "Zebulon Quimby"
    """
    from ..demonstration import demonstrate

    perform(demonstrate(broker=broker, write_name=write_name, as_json=as_json), as_json=as_json)
