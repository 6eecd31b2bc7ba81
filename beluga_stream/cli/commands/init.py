"""`beluga init`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from pathlib import Path
from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson


def init(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where; it is made if it is not there.", show_default=False)
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a small project to begin with: a graph, its topic, a test. It overwrites nothing.

    Example: beluga init shop && cd shop && beluga dev
    """
    from ..project import begin

    async def work() -> None:
        begin(folder, as_json=as_json)

    perform(work(), as_json=as_json)
