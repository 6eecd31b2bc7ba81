"""`beluga dead-letters`: list, show, replay, discard."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson, Broker

app = typer.Typer(help="Events that could not be accepted: see why, send them again.", no_args_is_help=True)

_Letter = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.", show_default=False)]


@app.command("list")
def list_letters(
    *,
    handled: Annotated[bool, typer.Option("--handled", help="Also those that were replayed or discarded.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most letters to show.")] = 50,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters that nobody has handled.

    Example: beluga dead-letters list
    """
    from .. import letters

    perform(letters.list_letters(handled=handled, limit=limit, broker=broker, as_json=as_json), as_json=as_json)


@app.command("show")
def show_letter(*, id: _Letter, broker: Broker = None, as_json: AsJson = False) -> None:  # noqa: A002 - its name everywhere
    """One dead letter: reason, source, headers and value.

    Example: beluga dead-letters show 2-17
    """
    from .. import letters

    perform(letters.show_letter(id, broker=broker, as_json=as_json), as_json=as_json)


@app.command("replay")
def replay_letters(
    *,
    id: Annotated[  # noqa: A002 - what `list` calls it
        str | None, typer.Argument(metavar="ID", help="As `list` shows it.", show_default=False)
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that nobody has handled.")] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Publish a letter to the topic it came from, once what was wrong is mended.

    With --all, those whose large values are gone from the blob store are named and left; the exit code is then 1.

    Example: beluga dead-letters replay 2-17
    """
    from .. import letters

    work = letters.replay(id, all_of_them=all_of_them, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


@app.command("discard")
def discard_letter(*, id: _Letter, broker: Broker = None, as_json: AsJson = False) -> None:  # noqa: A002 - its name everywhere
    """Mark a letter as handled; `list` hides it, retention deletes it.

    Example: beluga dead-letters discard 2-17
    """
    from .. import letters

    perform(letters.discard(id, broker=broker, as_json=as_json), as_json=as_json)
