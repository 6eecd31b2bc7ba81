"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
Broker = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Kafka bootstrap servers instead of BELUGA_BROKER.", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="ADDRESS",
        help="Kafka bootstrap servers, or a gateway's http:// address, instead of BELUGA_BROKER.",
        show_default=False,
    ),
]
Value = Annotated[
    str | None,
    typer.Argument(metavar="JSON|-", help="The value as JSON; - reads it from standard input.", show_default=False),
]
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", metavar="FILE", help="Read the value from this file.", show_default=False),
]
Timeout = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Most time to wait for the end (exit code 4).")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]
Agents = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder or package of graphs instead of BELUGA_AGENTS.", show_default=False),
]
Topics = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder of declared topics instead of BELUGA_TOPICS.", show_default=False),
]
