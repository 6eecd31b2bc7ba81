"""Starting a run and following one: a live tree on a terminal, lines in a pipe, JSON lines for machines."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from rich.live import Live

from ..application.clients.answer import Answer, check_ended
from ..application.clients.desk import Desk
from ..application.clients.event_json import event_json
from ..application.clients.results import Chunk, Event, RunChanged, Superseded
from ..bootstrap.client import open_desk
from ..bootstrap.connection import is_gateway
from ..bounds import within
from ..domain.ids import RunId
from ..domain.payload import Json
from ..errors import NotFound, TimedOut
from .runview import RunView
from .screen import console, pretty, print_json, print_line
from .values import settings_with

_SILENCE_SECONDS = 5.0


async def start(
    graph: str,
    value: Json,
    *,
    key: str | None,
    tags: Mapping[str, str],
    wait: bool,
    timeout: float,  # noqa: ASYNC109 - the option's name
    broker: str | None,
    as_json: bool,
) -> None:
    """Start a run and, unless told otherwise, follow it to its end."""
    settings = settings_with(broker=broker)
    async with open_desk(settings, shows_sealed=True) as runs:
        run = await runs.start(graph, value, idempotency_key=key, tags=tags)
        if not wait:
            if as_json:
                print_json({"run": run, "graph": graph})
            else:
                console.print(run)
            return

        prefix = "" if is_gateway(settings.broker) else f" with prefix {settings.prefix!r}"
        unheard = asyncio.get_running_loop().call_later(
            _SILENCE_SECONDS,
            sys.stderr.write,
            f"beluga: no sign of run {run} yet. Is an engine running at {settings.broker}{prefix}?"
            f" `beluga dev` starts one; still waiting ...\n",
        )
        view = RunView(run, graph)
        try:
            await _follow(runs, view, timeout=timeout, as_json=as_json, heard=unheard.cancel)
        except asyncio.CancelledError:
            if not as_json:
                # Who typed Ctrl-C may think that it has ended the run.
                sys.stderr.write(f"beluga: run {run} goes on: `beluga watch {run}`, or `beluga runs cancel {run}`\n")
            raise
        finally:
            unheard.cancel()


async def watch(
    run: str,
    *,
    after: str | None,
    timeout: float,  # noqa: ASYNC109 - the option's name
    broker: str | None,
    as_json: bool,
) -> None:
    """Follow somebody's run from its beginning or after a cursor."""
    async with open_desk(settings_with(broker=broker), shows_sealed=True) as runs:
        summary = await runs.summary(RunId(run))
        view = RunView(run, "" if summary is None else summary.graph)
        await _follow(runs, view, after=after, timeout=timeout, as_json=as_json, known=summary is not None)


async def _follow(
    runs: Desk,
    view: RunView,
    *,
    after: str | None = None,
    timeout: float,  # noqa: ASYNC109 - the option's name
    as_json: bool,
    known: bool = True,
    heard: Callable[[], None] | None = None,
) -> None:
    """Show what happens until the run has ended, and end as it did.

    A run that is not `known` and gives no sign for some seconds is not found. `heard` is called at the first.
    """
    run = RunId(view.run)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout if timeout else None
    answer = Answer(run, runs.asked(run))
    last: RunChanged | None = None
    silent = True
    show = _json_lines(runs, run) if as_json else _screen(view)
    try:
        async with (
            within(timeout or None) as limit,
            contextlib.aclosing(runs.follow(run, after=after)) as events,
            show as tell,
        ):
            if not known:
                limit.reschedule(loop.time() + _SILENCE_SECONDS)
            async for event in events:
                if silent:
                    silent = False
                    limit.reschedule(deadline)
                    if heard is not None:
                        heard()
                await tell(event)
                answer.hear(event)
                if isinstance(event, RunChanged):
                    last = event
    except TimeoutError as error:
        if not known and silent:
            told = f"there is no run {run}: `beluga runs list` shows those that are remembered"
            raise NotFound(told, run=run) from error
        told = f"run {run} has not ended after {timeout:g} s; it goes on: `beluga watch {run}`"
        raise TimedOut(told, run=run) from error
    answer.hear(None)
    answer.check()
    await _end(runs, run, last, undone=answer.undone, timeout=timeout, as_json=as_json)


@contextlib.asynccontextmanager
async def _json_lines(runs: Desk, run: str) -> AsyncIterator[Callable[[Event], Awaitable[None]]]:
    async def tell(event: Event) -> None:
        print_line(await event_json(run, event, runs.load))

    yield tell


@contextlib.asynccontextmanager
async def _screen(view: RunView) -> AsyncIterator[Callable[[Event], Awaitable[None]]]:
    """A live tree under the chunks on a terminal; without one, a line for each thing that happens."""
    if not console.is_terminal:

        async def say(event: Event) -> None:
            for line in view.apply(event):
                console.print(line, soft_wrap=True)

        yield say
        return
    with Live(view.tree(), console=console, refresh_per_second=12, transient=False) as live:

        async def tell(event: Event) -> None:
            lines = view.apply(event)
            if isinstance(event, Chunk | Superseded):
                for line in lines:
                    live.console.print(line)
            live.update(view.tree())

        yield tell


async def _end(
    runs: Desk,
    run: RunId,
    last: RunChanged | None,
    *,
    undone: bool,
    timeout: float,  # noqa: ASYNC109 - the option's name
    as_json: bool,
) -> None:
    """Print the result of a run that succeeded; raise what another end means."""
    if last is not None and last.ended:
        check_ended(run, last, undone=undone)
        if as_json:
            return
    if last is None or last.output is None:
        # After the cursor of its last event there is none that tells of the end; or a gateway cannot give the output.
        output = await runs.result(run, timeout_seconds=timeout or None)
    else:
        output = await runs.load(last.output)
    if not as_json:
        console.print(pretty(output), soft_wrap=True)
