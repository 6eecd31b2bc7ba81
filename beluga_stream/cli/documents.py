"""`beluga docs`: documents for other programs."""

from typing import Any

import orjson

from ..adapters.http import openapi
from ..adapters.http.table import TABLE
from ..bootstrap import asyncapi, deployment
from ..bootstrap.versions import version_of
from .aside import aside
from .values import settings_with


def print_openapi(*, as_json: bool) -> None:
    """Print the gateway's OpenAPI document."""
    _print(openapi.document(TABLE), as_json=as_json)


async def print_asyncapi(*, agents: str | None, topics: str | None, broker: str | None, as_json: bool) -> None:
    """Print the AsyncAPI document of the graphs and topics here."""
    settings = settings_with(agents=agents, topics=topics, broker=broker)
    told = asyncapi.document(settings, await aside(deployment.load_of, settings), version_of("beluga-stream"))
    _print(told, as_json=as_json)


def _print(tree: dict[str, Any], *, as_json: bool) -> None:
    print(orjson.dumps(tree, option=0 if as_json else orjson.OPT_INDENT_2).decode())
