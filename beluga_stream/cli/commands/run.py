"""`beluga run`, `beluga watch`, `beluga publish`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson, Broker, Engine, File, RunArgument, Timeout, Value


def run(
    *,
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="The graph's name.", show_default=False)],
    value: Value = None,
    file: File = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key is the same run.", show_default=False)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Tag the run; may be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run, or only print its id.")] = True,
    timeout: Timeout = 600,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Start a graph, show what it does as it does it, and print its result.

    Example: beluga run stories '{"title": "A note", "text": "Holmes smiled."}' --tag from=me
    """
    from .. import following
    from ..values import pairs, read_json

    async def work() -> None:
        await following.start(
            graph,
            await read_json(value, file),
            key=key,
            tags=pairs(tag or (), "--tag"),
            wait=wait,
            timeout=timeout,
            broker=broker,
            as_json=as_json,
        )

    perform(work(), as_json=as_json)


def watch(
    *,
    run: RunArgument,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Only what follows this event's cursor.", show_default=False),
    ] = None,
    timeout: Timeout = 600,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run, from its beginning or after a cursor, to its end: nodes, attempts, times, chunks.

    Example: beluga watch 0d7f3c... --after 2-1041 --json
    """
    from .. import following

    perform(following.watch(run, after=after, timeout=timeout, broker=broker, as_json=as_json), as_json=as_json)


def publish(
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.", show_default=False)],
    value: Value = None,
    file: File = None,
    key: Annotated[str | None, typer.Option(help="The record's key.", show_default=False)] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; may be repeated.")] = None,
    cloudevent: Annotated[bool, typer.Option("--cloudevent", help="Send a CloudEvent (binary mode).")] = False,
    id: Annotated[  # noqa: A002 - the attribute's name
        str | None, typer.Option(help="Of the CloudEvent; by default random.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option(help="Of the CloudEvent.")] = "beluga-cli",
    type: Annotated[str, typer.Option(help="Of the CloudEvent.")] = "beluga.event",  # noqa: A002 - its name everywhere
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Publish an event to a topic; returns once it is durable, with its position.

    Example: beluga publish documents.submitted --file story.json --key story-1 --cloudevent --id story-1
    """
    from .. import publishing
    from ..values import pairs, read_text

    async def work() -> None:
        attributes = {"id": id, "source": source, "type": type} if cloudevent else None
        await publishing.publish(
            topic,
            await read_text(value, file),
            key=key,
            headers=pairs(header or (), "--header"),
            cloudevent=attributes,
            broker=broker,
            as_json=as_json,
        )

    perform(work(), as_json=as_json)
