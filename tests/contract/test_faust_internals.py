"""What we lean on inside Faust, mode and aiokafka's consumer.

A failure means a new version: look at `delivery.py`, `recovery.py` and `app.py`, and change this with them.
"""

import inspect
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.app.base import App, BootStrategy
from faust.stores.base import Store
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.transport.consumer import Consumer, Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import Message
from faust.worker import Worker
from mode import Service
from mode.services import ServiceTask
from mode.threads import ServiceThread
from mode.utils.queues import FlowControlQueue, ThrowableQueue

from beluga_stream.adapters.faust.command import PromptWorker
from beluga_stream.adapters.faust.delivery import LoopConsumer, RoleConsumer
from beluga_stream.adapters.faust.host import HostBoot
from beluga_stream.adapters.faust.recovery import RoleRecovery, RoleTables


def overridden(ours: type, theirs: type) -> set[str]:
    """Names of functions and tasks that we replace; a name missing in `theirs` would be dead code."""
    return {name for name, value in vars(ours).items() if callable(value) or isinstance(value, ServiceTask)} & {
        name for base in theirs.__mro__ for name in vars(base)
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (
            RoleConsumer,
            driver.Consumer,
            {
                "_new_consumer_thread", "_drain_messages", "perform_seek", "on_partitions_revoked", "commit",
                "_commit_handler", "_commit_livelock_detector", "verify_event_path",
            },
        ),
        (
            LoopConsumer,
            driver.AIOKafkaConsumerThread,
            {
                "start", "stop", "maybe_start", "crash", "_stopped_set", "set_shutdown", "_stop_children",
                "_stop_futures", "_stop_exit_stacks", "_thread_keepalive", "on_stop", "call_thread",
                "_create_worker_consumer",
            },
        ),
        (RoleRecovery, Recovery, {"on_rebalance", "flush_buffers", "_restart_recovery"}),
        (RoleTables, TableManager, {"on_start", "_update_channels", "on_partitions_revoked", "on_rebalance"}),
        (PromptWorker, Worker, {"_sentinel_task"}),
        (HostBoot, BootStrategy, {"sensors", "_should_enable_kafka_consumer"}),
    ],
)  # fmt: skip
def test_what_we_replace_is_there_to_be_replaced(ours: type, theirs: type, names: set[str]) -> None:
    assert names <= overridden(ours, theirs)


def test_a_thread_overrides_no_more_of_a_service_than_we_set_back() -> None:
    of_the_thread = {
        name
        for name, value in vars(ServiceThread).items()
        if inspect.isfunction(value) and name in vars(Service) and not name.startswith("__")
    }
    assert of_the_thread <= {
        *vars(LoopConsumer),
        "_new_shutdown_event",
        "on_thread_started",
        "on_thread_stop",
        "on_crash",
    }


def test_the_constructors_and_hooks_take_what_we_give() -> None:
    for function, names in {
        Message.__init__: {"topic", "partition", "offset", "timestamp", "tp", "generation_id"},
        App.create_event: {"key", "value", "headers", "message"},
        Consumer.on_partitions_revoked: {"revoked"},
        Recovery.on_rebalance: {"assigned", "revoked", "newly_assigned", "generation_id"},
        TableManager.on_rebalance: {"assigned", "revoked", "newly_assigned", "generation_id"},
        driver.credentials_to_aiokafka_auth: {"credentials", "ssl_context"},
    }.items():
        assert names <= set(inspect.signature(function).parameters), function
    assert Message.use_tracking is False, "messages would be kept in a set of Faust's for ever"
    assert issubclass(RebalanceAgain, Exception)
    assert issubclass(ServiceStopped, Exception)
    assert hasattr(Collection, "_new_store")
    assert {name for name, value in vars(Store).items() if getattr(value, "__isabstractmethod__", False)} == set()


def test_recovery_resumes_as_we_do() -> None:
    """`RoleRecovery._open` does what `_resume_streams` does, and opens our gate at the end."""
    source = inspect.getsource(Recovery._resume_streams)
    steps = [
        "on_rebalance_complete.send", "resume_partitions", "perform_seek", "completed.set",
        "flow_control.resume", "resume_flow", "_fetcher.maybe_start", "on_actives_ready", "on_standbys_ready",
        "on_rebalance_end",
    ]  # fmt: skip
    assert all(step in source for step in steps)


def test_the_fetcher_runs_our_loop_and_the_queue_is_a_plain_one() -> None:
    assert "consumer._drain_messages(self)" in inspect.getsource(Fetcher._fetcher.fun)
    assert issubclass(ThrowableQueue, FlowControlQueue)
    assert "self._queue.clear()" in inspect.getsource(ThrowableQueue.clear)
    assert "FlowControlQueue" in vars(App)


def test_no_heartbeat_is_sent_while_partitions_are_being_assigned() -> None:
    """Why acquiring is done in the recovery task and not in the callback."""
    source = inspect.getsource(GroupCoordinator.ensure_active_group)
    assert (
        source.index("_stop_heartbeat_task") < source.index("_do_rejoin_group") < source.index("_start_heartbeat_task")
    )
    assert source.index("_on_join_prepare") < source.index("_stop_heartbeat_task"), "releasing has none either"


def test_consumers_know_the_calls_we_make() -> None:
    parameters = set(inspect.signature(aiokafka.AIOKafkaConsumer.__init__).parameters)
    assert {
        "group_instance_id",
        "rebalance_timeout_ms",
        "partition_assignment_strategy",
        "fetch_max_wait_ms",
    } <= parameters
    for name in ("getmany", "commit", "committed", "seek", "seek_to_beginning", "end_offsets", "assignment"):
        assert hasattr(aiokafka.AIOKafkaConsumer, name)


def test_every_setting_of_a_role_app_exists() -> None:
    settings: Any = faust.App("probe").conf
    for name in (
        "broker_commit_every", "broker_commit_interval", "broker_heartbeat_interval",
        "broker_max_poll_records",
        "broker_rebalance_timeout", "broker_session_timeout", "consumer_auto_offset_reset",
        "consumer_group_instance_id", "Monitor", "stream_buffer_maxsize", "stream_recovery_delay",
        "stream_wait_empty", "TableManager", "topic_allow_declare", "topic_disable_leader", "web_enabled",
    ):  # fmt: skip
        assert hasattr(settings, name), name
