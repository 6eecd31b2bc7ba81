"""`beluga triggers`: list, test. And `beluga backfill`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import Agents, AsJson, Broker, File, Value

app = typer.Typer(help="What starts runs by itself: events, several events together, clocks.", no_args_is_help=True)

TriggerArgument = Annotated[
    str,
    typer.Argument(
        metavar="TRIGGER", help="Its graph's name, or GRAPH/TRIGGER where it has several.", show_default=False
    ),
]


@app.command("list")
def list_triggers(*, agents: Agents = None, as_json: AsJson = False) -> None:
    """Every trigger of the deployment here: what it listens to, and when a schedule comes next.

    Example: beluga triggers list
    """
    from .. import triggering

    perform(triggering.list_triggers(agents=agents, as_json=as_json), as_json=as_json)


@app.command("test")
def try_trigger(
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic that it would be of.", show_default=False)],
    value: Value = None,
    file: File = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header of the record.")] = None,
    agents: Agents = None,
    as_json: AsJson = False,
) -> None:
    """Show what an event would start, by the same code as ingest. Nothing is started, and no broker is needed.

    Example: beluga triggers test documents.submitted '{"title": "A"}' --header ce_id=1
    """
    from .. import triggering
    from ..values import pairs, read_text

    async def work() -> None:
        data, headers = await read_text(value, file), pairs(header or (), "--header")
        await triggering.try_trigger(topic, data, headers=headers, agents=agents, as_json=as_json)

    perform(work(), as_json=as_json)


def backfill(
    *,
    trigger: TriggerArgument,
    begin: Annotated[str, typer.Option("--from", metavar="TIME|OFFSET", help="Where it begins.", show_default=False)],
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME|OFFSET", help="Where it ends; that itself is left out. Without it: now."),
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only of this partition.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be started.")] = False,
    parallel: Annotated[int, typer.Option(min=1, max=10_000, help="Most runs at a time.")] = 50,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Most time to wait for each run.")] = 3600,
    agents: Agents = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Start the runs that earlier events, or times of a schedule, should have started. What ran is left out.

    Example: beluga backfill stories --from 2026-01-01T00:00Z --to 2026-01-02T00:00Z --dry-run
    """
    from .. import backfilling

    work = backfilling.backfill(
        trigger,
        begin=begin,
        end=end,
        partition=partition,
        dry_run=dry_run,
        parallel=parallel,
        timeout_seconds=timeout,
        agents=agents,
        broker=broker,
        as_json=as_json,
    )
    perform(work, as_json=as_json)
