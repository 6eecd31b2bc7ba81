"""`beluga runs`: list, show, stuck, cancel, retry, override, fork, signal."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from typing import Annotated

import typer

from ..exits import perform
from ..options import AsJson, Broker, Engine, File, RunArgument, Value

app = typer.Typer(help="Runs that are remembered: look at them, and act on one.", no_args_is_help=True)


@app.command("list")
def list_runs(
    *,
    graph: Annotated[str | None, typer.Option(help="Only of this graph.", show_default=False)] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="Only in this status: limited, running, compensating, succeeded, failed or cancelled.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only with this tag.")] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only those that a node of this run has started.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to show.")] = 50,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """The newest runs, newest first.

    Example: beluga runs list --graph stories --status failed --limit 10
    """
    from .. import history
    from ..values import pairs

    async def work() -> None:
        wanted = history.Wanted(graph, status, pairs(tag or (), "--tag"), parent)
        await history.list_runs(wanted, limit=limit, broker=broker, as_json=as_json)

    perform(work(), as_json=as_json)


@app.command("show")
def show_run(
    *,
    run: RunArgument,
    node: Annotated[
        str | None, typer.Option(help="Print only what this node gave, as JSON.", show_default=False)
    ] = None,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """One run as it stands now: its nodes, times, errors and result.

    Example: beluga runs show 0d7f3c... --node digest
    """
    from .. import history

    perform(history.show_run(run, node=node, broker=broker, as_json=as_json), as_json=as_json)


@app.command("stuck")
def stuck_runs(
    *,
    patience: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How late is too late: after the time when a run should have gone on, or since nobody took its work.",
        ),
    ] = 60,
    everything: Annotated[bool, typer.Option("--all", help="Whatever runs wait for, late or not.")] = False,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """The runs that wait longer than they should, and for what: a worker, timer, signal, child, limit, their code.

    Example: beluga runs stuck --patience 300
    """
    from .. import waits

    work = waits.list_stuck(patience_seconds=patience, everything=everything, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


@app.command("cancel")
def cancel_run(
    *,
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="Why; it is shown with the run.")] = "",
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """End a run: what is queued, running, asleep or started by it is stopped.

    Example: beluga runs cancel 0d7f3c... --reason "wrong document"
    """
    from .. import history

    perform(history.cancel_run(run, reason=reason, broker=broker, as_json=as_json), as_json=as_json)


@app.command("retry")
def retry_run(*, run: RunArgument, broker: Engine = None, as_json: AsJson = False) -> None:
    """Let a failed run go on from its failed nodes, under the same id.

    It can for BELUGA_DEDUP_WINDOW_HOURS after it failed, unless its compensations have undone it.

    Example: beluga runs retry 0d7f3c... && beluga watch 0d7f3c...
    """
    from .. import history

    perform(history.retry_run(run, broker=broker, as_json=as_json), as_json=as_json)


@app.command("override")
def override_node(
    *,
    run: RunArgument,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's name.", show_default=False)],
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Most time for one attempt, up to 24 hours.", show_default=False),
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(metavar="N", help="How often it is tried, 1 to 21, the first included.", show_default=False),
    ] = None,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Give a node of one run another timeout or number of attempts than the graph has.

    The run goes on, or has failed and may be retried. A new timeout holds for attempts that begin after it. An
    override replaces an earlier one of the node: the option that is left out is as the graph has it.

    Example: beluga runs override 0d7f3c... digest --timeout 600 && beluga runs retry 0d7f3c...
    """
    from .. import history

    work = history.override_node(run, node, timeout_seconds=timeout, attempts=attempts, broker=broker, as_json=as_json)
    perform(work, as_json=as_json)


@app.command("fork")
def fork_run(
    *,
    run: RunArgument,
    node: Annotated[str, typer.Option("--from", metavar="NODE", help="It and what follows run anew.")],
    edited: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="JSON",
            help="What the node is given instead of what it was; of several parameters an object with some of them.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The same key is the same fork; by default each is a new one.", show_default=False),
    ] = None,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run that takes over what comes before a node, and runs it and what follows anew.

    Example: beluga runs fork 0d7f3c... --from digest --input '["another", "text"]'
    """
    from .. import history

    perform(history.fork_run(run, node, edited=edited, key=key, broker=broker, as_json=as_json), as_json=as_json)


@app.command("signal")
def signal_run(
    *,
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    value: Value = None,
    file: File = None,
    id: Annotated[  # noqa: A002 - the field's name
        str | None,
        typer.Option(help="The same id twice is one signal; by default random.", show_default=False),
    ] = None,
    broker: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Send a signal to a run that waits for it, or will.

    Example: beluga runs signal 0d7f3c... approved '{"by": "ada"}'
    """
    from .. import history
    from ..values import read_json

    async def work() -> None:
        given = await read_json(value, file)
        await history.signal_run(run, name, given, id=id, broker=broker, as_json=as_json)

    perform(work(), as_json=as_json)
