"""`beluga acls`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker


def acls(
    *,
    role: Annotated[
        str,
        typer.Argument(
            metavar="ROLE",
            help="coordinator, worker, ingest or workflows, as in BELUGA_ROLE; or client, gateway, agent (a program "
            "that uses the message bus), operator (whoever types `beluga`).",
            show_default=False,
        ),
    ],
    user: Annotated[str, typer.Option(metavar="NAME", help="The user that processes of this role log in as.")],
    agents: Agents = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Print the kafka-acls commands that give a role the least rights it needs, and nothing more.

    Example: beluga acls worker --user beluga-worker
    """

    async def work() -> None:
        from .. import access

        await access.show_rights(role, user=user, agents=agents, broker=broker, as_json=as_json)

    perform(work(), as_json=as_json)
