"""What every test gets: a broker, topics of its own, and a check that it leaves nothing running."""

import asyncio
import faulthandler
import gc
import inspect
import os
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import hypothesis
import psutil
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from aiokafka.admin import AIOKafkaAdminClient

from tests.admitted import start_session_broker
from tests.brokers import Broker, BrokerUnavailable

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So shells start what is to run in the background, and what we start here would not hear a Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")

_BROKER = pytest.StashKey[str]()
_GRACE = 2.0
"""Seconds that what a test started may take to end after the test; a leak does not end at all."""
_TEARDOWN_SECONDS = 180.0
"""More than a session's broker and its servers take to end."""


# ------------------------------------------------------------------------------------------ the broker
@pytest.fixture(scope="session")
def started_broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker as an object, for tests that restart or kill it."""
    began = time.monotonic()
    try:
        broker = start_session_broker(tmp_path_factory.mktemp)
    except BrokerUnavailable as reason:
        pytest.fail(f"no broker to test against: {reason}", pytrace=False)
    ready = time.monotonic() - began
    pytestconfig.stash[_BROKER] = f"broker: {broker.title} at {broker.address}, ready in {ready:.1f} s"
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def broker(started_broker: Broker) -> str:
    """The address of the best broker there is (see tests/brokers), shared by the whole session."""
    return started_broker.address


@pytest.fixture(scope="session")
def real_broker(started_broker: Broker) -> str:
    """The address of an Apache Kafka; without one the test is skipped, as it shows what only Kafka does."""
    if not started_broker.real:
        pytest.skip(f"needs Apache Kafka itself; this session runs on {started_broker.title}")
    return started_broker.address


@pytest.fixture
async def topic_prefix(broker: str) -> AsyncIterator[str]:
    """Begins the names of a test's topics, so that tests share a broker and nothing else.

    Topics that begin with it are deleted afterwards.
    """
    prefix = f"t-{uuid.uuid4().hex[:10]}."
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        mine = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if mine:
            await admin.delete_topics(mine)
    finally:
        await admin.close()


def pytest_configure(config: pytest.Config) -> None:
    """A session that is told to stop ends as by Ctrl-C: with what it has started."""
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to stop", returncode=128 + signal.SIGTERM))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of a parallel session tells its parent of the broker, which prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["broker"] = session.config.stash.get(_BROKER, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A parallel session shares its tests out as tests/sharing.py says."""
    from tests.sharing import Sharing  # noqa: PLC0415 - needs a plugin that other sessions go without

    return Sharing(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """See `give_way`."""
    if hasattr(item.config, "workerinput"):
        from tests.sharing import give_way  # noqa: PLC0415 - see above

        give_way(item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear of it in the parent, as the process ends."""
    told = getattr(node, "workeroutput", {}).get("broker")
    if told is not None:
        node.config.stash[_BROKER] = told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the tests ran against: green on the embedded broker and green on Kafka are two claims."""
    if _BROKER in config.stash:
        terminalreporter.write_line(config.stash[_BROKER])


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Temporal server, which all tests share: their workflows have ids and task queues of their own."""
    from tests.temporal_server import temporal_server  # noqa: PLC0415 - most sessions need none

    with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Show all stacks and end the process when a test does not end.

    Its timeout is no help there: it goes off once, in the test, and a loop that closes waits for every task of it.
    Pytest's own way to exit is given up as soon as a test has failed.
    """
    shown_to = item.config.stash[fault_handler_stderr_fd_key]  # nothing public is past the capture
    faulthandler.dump_traceback_later(_TEARDOWN_SECONDS, exit=True, file=shown_to)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


# ------------------------------------------------------------------------------------ what each test gets
@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are made that stay: to look for garbage among them takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a broker; async tests also get the check for tasks, in their own event loop.

    What only `make observed` runs is no part of any other session.
    """
    left_out = [item for item in items if item.get_closest_marker("observed") and "BELUGA_OBSERVED" not in os.environ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if "started_broker" in item.fixturenames:
            item.add_marker(pytest.mark.kafka)
        if "temporal_address" in item.fixturenames:
            item.add_marker(pytest.mark.temporal)
        if _is_async(item):
            # First in, last out: it looks when the fixtures of the test are closed.
            item.fixturenames.insert(0, "no_leaked_tasks")


def _is_async(item: pytest.Function) -> bool:
    hypothesis = getattr(item.obj, "hypothesis", None)  # it wraps the test in a plain function
    return inspect.iscoroutinefunction(hypothesis.inner_test if hypothesis else item.obj)


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves asyncio tasks: closing the loop would cancel them and hide it."""
    before = asyncio.all_tasks()
    yield

    def left() -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - before - {asyncio.current_task()}

    if ending := left():
        await asyncio.wait(ending, timeout=_GRACE)
    if leaked := left():
        where = "\n".join(f"  {task.get_name()}: {_where(task)}" for task in leaked)
        pytest.fail(f"the test left {len(leaked)} asyncio task(s) running:\n{where}", pytrace=False)


def _where(task: "asyncio.Task[object]") -> str:
    stack = task.get_stack(limit=1)
    place = f" at {stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else ""
    return f"{getattr(task.get_coro(), '__qualname__', task.get_coro())}{place}"


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads or processes: they would disturb later tests or outlive the session."""
    if request.node.get_closest_marker("kafka") is not None:
        request.getfixturevalue("broker")  # It outlives the test that is the first to ask for it.
    threads = set(threading.enumerate())
    children = set(_children())
    yield
    deadline = time.monotonic() + _GRACE

    def left() -> list[str]:
        # `asyncio_N` are the pool of the event loop, which is closed, and joins them, after this.
        alive = [
            thread
            for thread in threading.enumerate()
            if thread not in threads and not thread.daemon and not thread.name.startswith("asyncio_")
        ]
        # What a process of a wider fixture has started is that one's to end.
        running = [child for child in _children() if child not in children and children.isdisjoint(_parents(child))]
        return [f"thread {thread.name}" for thread in alive] + [_describe(child) for child in running]

    while (leaked := left()) and time.monotonic() < deadline:
        time.sleep(0.02)
    if leaked:
        pytest.fail("the test left running:\n" + "\n".join(f"  {what}" for what in leaked), pytrace=False)


def _children() -> list[psutil.Process]:
    if not _has_children():
        return []
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        try:
            # Python's own: it lives as long as the interpreter that used multiprocessing once.
            tracker = any("multiprocessing.resource_tracker" in word for word in child.cmdline())
            if not tracker and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue  # ended since it was listed
    return found


def _has_children() -> bool:
    """Whether there can be any: to know that costs a thousandth of a look at all processes of the machine."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.parents()
    except psutil.NoSuchProcess:
        return []
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"process {process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"process {process.pid}"
