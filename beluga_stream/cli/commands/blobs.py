"""`beluga blobs`: sweep."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

import typer

from ..exits import perform
from ..options import AsJson, Broker

app = typer.Typer(help="Values above 64 KiB, in the blob store.", no_args_is_help=True)


@app.callback()
def blobs() -> None:
    """Be a group, though it has one command."""


@app.command("sweep")
def sweep_blobs(*, broker: Broker = None, as_json: AsJson = False) -> None:
    """Remove what nobody can want any more, now. The coordinators do it every BELUGA_SWEEP_HOURS by themselves.

    Example: beluga blobs sweep
    """
    from .. import sweeping

    perform(sweeping.sweep(broker=broker, as_json=as_json), as_json=as_json)
