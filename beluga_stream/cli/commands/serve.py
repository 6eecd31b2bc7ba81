"""`beluga serve`, `beluga tokens new`, `beluga docs openapi|asyncapi`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker, Topics

tokens = typer.Typer(help="Tokens that open the HTTP gateway.", no_args_is_help=True)
documents = typer.Typer(help="Documents for other programs.", no_args_is_help=True)


def serve(
    *,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Listen there instead of at BELUGA_HTTP_ADDRESS.", show_default=False),
    ] = None,
    broker: Broker = None,
    topics: Topics = None,
    as_json: AsJson = False,
) -> None:
    """Serve the engine over HTTP: start, follow, cancel and signal runs, publish events (docs/http.md).

    Example: beluga serve --address 127.0.0.1:8080
    """
    from ...bootstrap.loop import new_loop
    from ..values import settings_with

    async def work() -> None:
        from .. import serving

        await serving.serve(address=address, broker=broker, topics=topics, as_json=as_json)

    perform(work(), as_json=as_json, when_stopped=0, new_loop=lambda: new_loop(settings_with(broker=broker)))


@tokens.command("new")
def new(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, for logs and limits.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may: start, read, control, publish; may be repeated, by default all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a new token, and the line for the file of BELUGA_HTTP_TOKEN_FILE, which has only its hash.

    Example: beluga tokens new shop --scope start --scope read
    """

    async def work() -> None:
        from .. import serving

        serving.print_new_token(name, scope or [], as_json=as_json)

    perform(work(), as_json=as_json)


@documents.command("openapi")
def openapi(*, as_json: AsJson = False) -> None:
    """Print the OpenAPI document of the HTTP gateway; with --json in one line.

    Example: beluga docs openapi > openapi.json
    """

    async def work() -> None:
        from .. import documents

        documents.print_openapi(as_json=as_json)

    perform(work(), as_json=as_json)


@documents.command("asyncapi")
def asyncapi(*, agents: Agents = None, topics: Topics = None, broker: Broker = None, as_json: AsJson = False) -> None:
    """Print the AsyncAPI document of every topic and graph of the deployment here; with --json in one line.

    Example: beluga docs asyncapi --agents agents > asyncapi.json
    """

    async def work() -> None:
        from .. import documents

        await documents.print_asyncapi(agents=agents, topics=topics, broker=broker, as_json=as_json)

    perform(work(), as_json=as_json)
