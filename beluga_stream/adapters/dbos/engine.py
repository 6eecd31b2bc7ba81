"""DBOS in this process: its loop and threads, the workflow that keeps a run's journal, and the runs that go on.

DBOS has a loop of its own, in a thread of its own: it makes its thread pool the default of the loop that it is
called from, and ends it when it is destroyed. Runs and their handlers are in the loop of whoever opened the engine.
"""

import asyncio
import fcntl
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import dbos._dbos
import msgspec
from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowStatus

from ...application.durable.standing import Standing
from ...application.execution.leaving import Leaving
from ...application.in_process.sqlite_files import take
from ...application.local.executing import Executing
from ...application.worker.code import Code
from ...bounds import within
from ...domain.events import Event
from ...domain.ids import RunId
from ...errors import BelugaError, InvalidState, LogUnavailable
from ...ports.cipher import Cipher
from ...ports.clock import Clock
from ...ports.spans import NO_SPANS, Spans
from .journal import entries
from .keys import check_keys
from .records import GRAPH, MAIL, NEXT, Ended, Entry, Start
from .run import Follower, Run
from .serializer import JsonSerializer, RunEnded
from .sqlite import Connection

_NAME = "beluga"
_VERSION = "1"
"""Of the journal. DBOS takes over what the same version of an application has begun."""

_STOPS = "this process stops running DBOS: workflows that go on are taken over by the next"

_PATIENCE_SECONDS = 30.0
_GRACE_SECONDS = 10.0
_END_SECONDS = 60.0

T = TypeVar("T")


class _Current:
    """DBOS is one for a process, and so is the engine that its workflow belongs to."""

    engine: "DbosEngine | None" = None


class DbosEngine:
    """Runs durable graphs over one SQLite file. Open it once; close it in the same loop.

    `code` is what there is; there may be more of it meanwhile.
    """

    def __init__(
        self,
        database: Path,
        *,
        code: Code,
        executions: Executing,
        clock: Clock,
        cipher: Cipher | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._spans = spans
        self._database = database.resolve()  # its lock is beside it, whatever links lead there
        self._code = code
        self._executions = executions
        self._clock = clock
        self._cipher = cipher
        self._serializer = JsonSerializer(cipher)
        self._runs: dict[RunId, Run] = {}
        self._starting: set[RunId] = set()
        self._begun: set[RunId] = set()
        self._mailed: set[RunId] = set()
        self._followers: dict[RunId, Follower] = {}
        self._leaving = Leaving()
        self._opened: Future[None] = Future()
        self._closing = False
        self._lock: IO[str] | None = None
        self._thread = threading.Thread(target=self._serve, name="beluga-dbos", daemon=True)

    async def open(self) -> None:
        """Begin, and go on with what another process has left.

        Raises `InvalidState`, `LogUnavailable`, `KeyMissing` when it could not read what it would go on with, and
        `InvalidConfig` for a file of vectors of this process.
        """
        if _Current.engine is not None or dbos._dbos._dbos_global_instance is not None:  # noqa: SLF001 - nothing public tells
            raise InvalidState(
                "DBOS runs in this process already, for another orchestrator or program: it can only once"
            )
        take(self._database, "python")
        self._home = asyncio.get_running_loop()
        self._lock = _locked(self._database)
        _Current.engine = self
        self._thread.start()
        try:
            async with within(_PATIENCE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(self._opened))
        except (asyncio.CancelledError, BelugaError):
            await self.close()
            raise
        except Exception as error:
            await self.close()
            raise LogUnavailable(f"DBOS does not begin with {self._database}: {error}") from error

    async def close(self) -> None:
        """Let the journals know what was at work, then end all threads. What goes on is taken over by the next."""
        self._closing = True
        try:
            for run in self._runs.values():
                run.hand_over()
            waiting = [asyncio.ensure_future(run.handed_over.wait()) for run in self._runs.values()]
            if waiting:
                _, late = await asyncio.wait(waiting, timeout=_GRACE_SECONDS)
                for task in late:
                    task.cancel()
        finally:
            with suppress(RuntimeError, AttributeError):  # it has ended by itself, or will see that it is not wanted
                self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, _END_SECONDS)

    def follow(self, run: RunId, follower: Follower) -> None:
        """Show this run, which is to begin, to a follower."""
        self._followers[run] = follower

    def leave(self, run: RunId) -> None:
        """The follower has left, or the run has not begun."""
        self._followers.pop(run, None)

    async def start(self, run: RunId, start: Start) -> bool:
        """Begin a run. Whether its id was free."""
        return await self._there(self._started(run, msgspec.json.encode(start).decode()))

    async def send(self, run: RunId, event: Event) -> None:
        """Hand an event over, once and for all."""
        await self._there(self._sent(run, msgspec.json.encode(event).decode()))

    async def terminate(self, run: RunId) -> None:
        """End it at once."""
        await self._there(self._terminated(run))

    async def status(self, run: RunId) -> WorkflowStatus | None:
        """What DBOS knows of a run; values that it could not read are as they are kept."""
        return await self._there(DBOS.get_workflow_status_async(run))

    async def read(self, run: RunId) -> WorkflowStatus | None:
        """What DBOS knows of a run, with its values. Raises `KeyMissing` and `Tampered`."""
        status = await self.status(run)
        if status is not None:
            status.input = self._serializer.legible(status.input)
            status.output = self._serializer.legible(status.output)
            status.error = self._serializer.legible(status.error)
        return status

    async def steps(self, run: RunId) -> int:
        """How long its journal is."""
        return len(await self._there(DBOS.list_workflow_steps_async(run, load_output=False)))

    async def standing(self, run_id: RunId, start: Start) -> Standing:
        """How a run stands by its journal: one that has ended, or that has not come to its present here."""
        run = Run(
            run_id,
            start,
            code=self._code,
            executions=self._executions,
            now_ms=self._clock.now_ms,
            taken_over=True,
        )
        await run.begin()
        for entry, mail in entries(await self._there(DBOS.list_workflow_steps_async(run_id)), self._serializer):
            await run.apply(entry, mail)
        return run.standing

    def going_on(self, run: RunId) -> Run | None:
        """The run, while it goes on here."""
        return self._runs.get(run)

    # -------------------------------------------------------------------------------- called by the workflow
    async def begin(self, run_id: RunId, start: Start) -> Run:
        """The run of a workflow that begins, or begins again."""
        run = Run(
            run_id,
            start,
            code=self._code,
            executions=self._executions,
            now_ms=self._clock.now_ms,
            taken_over=run_id not in self._begun,
            follower=self._followers.get(run_id),
            spans=self._spans,
        )
        self._begun.discard(run_id)
        if run_id in self._mailed:
            self._mailed.discard(run_id)
            run.wake()
        self._runs[run_id] = run
        if self._closing:
            run.hand_over()
        await run.begin()
        return run

    async def finished(self, run_id: RunId, run: Run) -> None:
        """The workflow ends, or this process does."""
        await run.close(self._leaving)
        if self._runs.get(run_id) is run:
            del self._runs[run_id]
        if run_id in self._followers:
            await self._followers.pop(run_id).put(None)

    async def at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """From DBOS's loop: do it in the loop of the runs. When that is gone, the workflow breaks off as in a crash."""
        try:
            done = asyncio.run_coroutine_threadsafe(work, self._home)
        except RuntimeError:  # it was closed without this engine; an error would end the workflow, for good
            work.close()
            raise asyncio.CancelledError from None
        return await asyncio.wrap_future(done)

    # ------------------------------------------------------------------------------------------ DBOS's thread
    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """From the loop of the runs: do it in DBOS's loop. Raises `LogUnavailable`."""
        if self._closing:
            work.close()
            raise LogUnavailable(_STOPS)
        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        try:
            async with within(_PATIENCE_SECONDS):
                return await asyncio.shield(done)  # who leaves breaks off nothing: half of it may be in the file
        except asyncio.CancelledError:
            if done.cancelled():
                raise LogUnavailable(_STOPS) from None
            raise
        except BelugaError:
            raise
        except Exception as error:
            raise LogUnavailable(f"DBOS's database {self._database} does not answer: {error}") from error

    async def _started(self, run: RunId, start: str) -> bool:
        if run in self._starting:
            return False
        self._starting.add(run)
        try:
            if await DBOS.get_workflow_status_async(run) is not None:
                return False
            self._begun.add(run)
            try:
                with SetWorkflowID(run):
                    await DBOS.start_workflow_async(graph, start)
            except BaseException:
                self._begun.discard(run)
                raise
        finally:
            self._starting.discard(run)
        return True

    async def _sent(self, run: RunId, letter: str) -> None:
        await DBOS.send_async(run, letter, MAIL)
        self._home.call_soon_threadsafe(self._mail_came, run)

    async def _terminated(self, run: RunId) -> None:
        await DBOS.cancel_workflow_async(run)
        self._home.call_soon_threadsafe(self._mail_came, run)

    def _mail_came(self, run: RunId) -> None:
        if run in self._runs:
            self._runs[run].wake()
        elif run in self._begun:
            self._mailed.add(run)

    def _serve(self) -> None:
        """The file and DBOS are in use until the thread ends, whoever waits for that."""
        try:
            asyncio.run(self._main())
        finally:
            if self._lock is not None:
                self._lock.close()
            _Current.engine = None

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        quiet = _Quiet()
        logger = logging.getLogger("dbos")
        logger.addHandler(quiet.nothing)  # or DBOS writes to the console
        logger.addFilter(quiet)
        level = logger.level
        try:
            check_keys(self._database, self._cipher)
            DBOS(config=self._config())
            DBOS.launch()
        except Exception as error:  # noqa: BLE001 - whoever opens it is told
            self._opened.set_exception(error)
        else:
            self._opened.set_result(None)
            if not self._closing:
                await self._stop.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Its threads may ask something of this loop while it waits for them.
        with ThreadPoolExecutor(1) as executor:
            await self._loop.run_in_executor(executor, DBOS.destroy)
        logger.setLevel(level)
        logger.removeFilter(quiet)
        logger.removeHandler(quiet.nothing)

    def _config(self) -> DBOSConfig:
        """Nothing leaves the process: no conductor, no telemetry."""
        return DBOSConfig(
            name=_NAME,
            system_database_url=f"sqlite:///{self._database}",
            db_engine_kwargs={"connect_args": {"factory": Connection}},
            application_version=_VERSION,
            executor_id="local",
            log_level="WARNING",
            enable_otlp=False,
            serializer=self._serializer,
        )


class _Quiet(logging.Filter):
    """Drops what is no error here: that a graph has failed, and that workflows are stopped with their process.

    And what is told by one: that values of a workflow cannot be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nothing = logging.NullHandler()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        told = record.getMessage()
        return not (
            isinstance(error, RunEnded) or told.startswith("Asyncio task cancelled") or "not be deserialized" in told
        )


@DBOS.workflow(name=GRAPH, max_recovery_attempts=None)
async def graph(start: str) -> str:
    """One run: a step for each entry of its journal. One that has not succeeded raises, so that DBOS shows it."""
    engine, run_id = _Current.engine, RunId(DBOS.workflow_id or "")
    assert engine is not None, "workflows run while an engine is open"
    run = await engine.at_home(engine.begin(run_id, msgspec.json.decode(start, type=Start)))

    async def entry() -> str:
        return msgspec.json.encode(await engine.at_home(run.next())).decode()

    try:
        ended: Ended | None = None
        while ended is None:
            kept = await DBOS.run_step_async({"name": NEXT}, entry)
            found = msgspec.json.decode(kept, type=Entry)
            mail: list[Event] = []
            while found.mail and (letter := await DBOS.recv_async(MAIL, timeout_seconds=0)) is not None:
                mail.append(msgspec.json.decode(letter, type=Event))
            ended = await engine.at_home(run.apply(found, mail))
    finally:
        await engine.at_home(engine.finished(run_id, run))
    told = msgspec.json.encode(ended).decode()
    if ended.status != "succeeded":
        raise RunEnded(told)
    return told


def _locked(database: Path) -> IO[str]:
    """Two processes would take each other's runs over. Raises `InvalidState`."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(f"{database.name}.lock").open("w")
    except OSError as error:
        raise LogUnavailable(f"DBOS's database {database} cannot be opened: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InvalidState(f"another process runs DBOS with {database}: give this one another file") from error
    return lock
