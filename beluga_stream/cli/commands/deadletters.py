"""`beluga dead-letters`: list, show, replay, discard."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson, Broker

app = typer.Typer(help="Events that could not be accepted: see why, send them again.", no_args_is_help=True)

_Letter = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.", show_default=False)]
_OneOrAll = Annotated[str | None, typer.Argument(metavar="ID", help="As `list` shows it.", show_default=False)]
_All = Annotated[bool, typer.Option("--all", help="All that nobody has handled.")]
_Topic = Annotated[str | None, typer.Option("--topic", help="Only those that came from this topic.")]


@app.command("list")
def list_letters(
    *,
    handled: Annotated[bool, typer.Option("--handled", help="Also those that were replayed or discarded.")] = False,
    topic: _Topic = None,
    limit: Annotated[int, typer.Option(min=1, help="Most letters to show.")] = 50,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters that nobody has handled.

    Example: beluga dead-letters list
    """
    from .. import letters

    work = letters.list_letters(handled=handled, topic=topic, limit=limit, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


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
    id: _OneOrAll = None,  # noqa: A002 - what `list` calls it
    all_of_them: _All = False,
    topic: _Topic = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Publish a letter to the topic it came from, once what was wrong is mended.

    With --all, those whose large values are gone from the blob store are named and left; the exit code is then 1.

    Example: beluga dead-letters replay 2-17
    """
    from .. import letters

    work = letters.replay(id, all_of_them=all_of_them, topic=topic, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


@app.command("discard")
def discard_letters(
    *,
    id: _OneOrAll = None,  # noqa: A002 - what `list` calls it
    all_of_them: _All = False,
    topic: _Topic = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Mark a letter as handled, or all of them; `list` hides it, retention deletes it.

    Example: beluga dead-letters discard --all --topic documents.submitted
    """
    from .. import letters

    work = letters.discard(id, all_of_them=all_of_them, topic=topic, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)
