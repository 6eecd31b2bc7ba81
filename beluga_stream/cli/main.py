"""The command line's front: every command by its name, the options before it, and how it is entered."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..bootstrap.garbage import collect_seldom
from ..bootstrap.versions import version_of
from ..errors import InvalidInput
from .commands import acls, blobs, deadletters, doctor, graph, init, keys, look, runs, serve, topics, triggers
from .commands import run as running
from .exits import WRONG, configure_noise, end_unheard, fail, say_error
from .output import OutputLost, watch_output

app = typer.Typer(
    name="beluga",
    help="Event-driven streaming orchestration of Python functions on Kafka.\n\n"
    "Start with `beluga init` and `beluga dev`, in the project's repository with `beluga demo`. Settings come from the "
    "environment (BELUGA_BROKER, BELUGA_AGENTS ...).",
    epilog="Exit codes: 0 ok, 1 failed, 2 wrong usage, input or configuration, 3 not found, 4 timed out, 5 no broker.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UsageError: Any = typer.BadParameter.__bases__[0]
"""Click's, wherever this version of typer has it."""
_LOOK = "Look first"
_RUNS = "Run graphs"
_OPERATE = "Operate"

app.command("demo", rich_help_panel=_LOOK)(look.demo)
app.command("init", rich_help_panel=_LOOK)(init.init)
app.command("dev", rich_help_panel=_LOOK)(look.dev)
app.command("run", rich_help_panel=_RUNS)(running.run)
app.command("watch", rich_help_panel=_RUNS)(running.watch)
app.command("publish", rich_help_panel=_RUNS)(running.publish)
app.add_typer(runs.app, name="runs", rich_help_panel=_RUNS)
app.command("serve", rich_help_panel=_RUNS)(serve.serve)
app.add_typer(triggers.app, name="triggers", rich_help_panel=_RUNS)
app.command("backfill", rich_help_panel=_RUNS)(triggers.backfill)
app.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)
app.add_typer(graph.app, name="graph", rich_help_panel=_OPERATE)
app.add_typer(topics.app, name="topics", rich_help_panel=_OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=_OPERATE)
app.add_typer(serve.tokens, name="tokens", rich_help_panel=_OPERATE)
app.add_typer(serve.documents, name="docs", rich_help_panel=_OPERATE)
app.command("acls", rich_help_panel=_OPERATE)(acls.acls)
app.add_typer(blobs.app, name="blobs", rich_help_panel=_OPERATE)
app.add_typer(deadletters.app, name="dead-letters", rich_help_panel=_OPERATE)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"beluga {version_of('beluga-stream')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the engine and its libraries log.")
    ] = False,
    shown: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before any command."""
    configure_noise(verbose=verbose)


def run() -> None:
    """Run the command that was typed."""
    collect_seldom()
    watch_output()
    as_json = "--json" in sys.argv
    try:
        code = _perform(as_json=as_json)
    except typer.Exit as ended:
        code = ended.exit_code
    sys.exit(code)


def _perform(*, as_json: bool) -> int | None:
    """The exit code of the command, which may also raise it."""
    _check_words(sys.argv, as_json=as_json)
    try:
        code: int | None = app(prog_name="beluga", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        # Of a group that no command of was named the help is shown already, and there is nothing to say.
        if told := error.format_message().rstrip("."):
            hint = "" if error.ctx is None else f": see `{error.ctx.command_path} --help`"
            say_error(f"{told}{hint}", InvalidInput.code, as_json=as_json, exit_code=WRONG)
        return WRONG
    except OutputLost as lost:  # of help, for one
        end_unheard(lost, as_json=as_json)
    return code


def _check_words(words: Sequence[str], *, as_json: bool) -> None:
    """Nothing that is typed is kept or sent as other than UTF-8."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            fail(InvalidInput(f"the argument {os.fsencode(word)!r} is not UTF-8"), as_json=as_json)
