"""docs/cli.md, written from the commands themselves.

python -m beluga_stream.cli.manual > docs/cli.md
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from .main import app

_HEAD = """# The command line

<!-- Written by `python -m beluga_stream.cli.manual > docs/cli.md`: change the commands and run it again. -->

Settings come from the environment, `BELUGA_BROKER` and `BELUGA_PREFIX` first of all: see
[configuration](configuration.md). Before any command, `-v` shows what the engine and its libraries log, and
`--version` prints the version.

Every command takes `--json`: one JSON document on standard output, or one line for each event where something
streams. Errors are one line on standard error, with `--json` one JSON document: `{"error": {"code", "message",
"ids", "exit_code"}}`, and `"reason"` of a run that failed or was refused. `BELUGA_DEBUG=1` adds the traceback.

| exit code | meaning |
|---|---|
| 0 | ok |
| 1 | it failed, or the run did |
| 2 | wrong usage, input or configuration |
| 3 | there is no such run, graph, topic or letter |
| 4 | it did not end within the timeout |
| 5 | no broker answers |
| 130 | interrupted |
"""


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    return "\n".join([_HEAD, *_commands(root, "beluga")]).rstrip() + "\n"


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield from _section(command, full)


def _section(command: Any, path: str) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    taken = [(str(param.metavar or param.name.upper()), param.required) for param in arguments]
    words = " ".join(name if required else f"[{name}]" for name, required in taken)
    told, _, example = (command.help or "").partition("Example: ")
    yield f"## `{f'{path} {words}'.strip()}`\n"
    yield f"{told.strip()}\n"
    if example:
        yield f"```sh\n{' '.join(example.split())}\n```\n"
    yield "| option | |\n|---|---|"
    for param in options:
        names = ", ".join([*param.opts, *param.secondary_opts])
        metavar = "" if getattr(param, "is_flag", False) else f" {param.metavar or _kind(param)}"
        yield f"| `{names}{metavar}` | {param.help}{_default(param)} |"
    yield ""


def _kind(param: Any) -> str:
    return "N" if isinstance(param.default, int | float) else "TEXT"


def _default(param: Any) -> str:
    value = param.default
    if value in (None, "", (), []) or isinstance(value, bool) or callable(value):
        return ""
    return f" Default: {value}."


if __name__ == "__main__":
    sys.stdout.write(page())
