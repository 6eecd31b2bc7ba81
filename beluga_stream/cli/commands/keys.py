"""`beluga keys`: new."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson

app = typer.Typer(help="Keys that users' values are encrypted with.", no_args_is_help=True)


@app.command("new")
def new(
    *,
    id: Annotated[  # noqa: A002 - what it is
        str | None, typer.Option(help="The key's id, never used before; by default a random one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a new key as a line for the file of BELUGA_ENCRYPTION_KEY_FILE; the first line there is the active key.

    Example: beluga keys new >> keys && chmod 600 keys
    """

    async def work() -> None:
        from ..keys import print_new

        print_new(id, as_json=as_json)

    perform(work(), as_json=as_json)
