"""What we lean on inside aiokafka. A failure means a new version: look at what the test names, or at `fence.py`."""

import ast
import asyncio
import inspect
import itertools
import re
import textwrap
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, AIOKafkaProtocol
from aiokafka.consumer.fetcher import Fetcher, FetchError
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, TopicPartitionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import NotEnoughReplicasAfterAppendError, NotEnoughReplicasError
from aiokafka.partitioner import DefaultPartitioner, murmur2
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.consumer import PromptConsumer
from beluga_stream.adapters.kafka.fetch_plan import FetchPlan
from beluga_stream.adapters.kafka.fetcher import PromptFetcher
from beluga_stream.adapters.kafka.producer import PatientProducer
from beluga_stream.adapters.kafka.sender import PromptSender, _Answered
from beluga_stream.application.partitioner import partition_of

_EACH_CLASS_HAS = {"__doc__", "__module__", "__static_attributes__", "__firstlineno__"}
"""The last two from Python 3.13 on."""


async def test_a_producer_without_its_transactional_id_sends_plain_batches() -> None:
    producer = AIOKafkaProducer(transactional_id="some-id")
    manager = producer._txn_manager
    assert isinstance(manager, TransactionManager)
    assert manager.transactional_id == "some-id"
    assert (manager.producer_id, manager.producer_epoch) == (-1, -1)
    manager.transactional_id = None
    batch = producer.create_batch()
    assert isinstance(batch, BatchBuilder)
    batch.append(timestamp=1, key=b"k", value=b"v", headers=[])
    attributes = int.from_bytes(batch._build()[21:23], "big")
    assert attributes & 0x10 == 0, "the batch is marked as transactional"
    await producer.stop()


def test_the_id_is_asked_for_once_before_the_sender_runs() -> None:
    start = inspect.getsource(Sender.start)
    assert start.index("_maybe_wait_for_pid") < start.index("create_task")
    assert "transactional_id is not None" in inspect.getsource(AIOKafkaProducer.send_batch)
    assert "transactional_id is None" in inspect.getsource(TransactionManager.maybe_add_partition_to_txn)


def test_one_batch_of_a_partition_is_under_way_at_a_time() -> None:
    """`KafkaAppender` sends together what comes meanwhile; without this limit it would not need to."""
    assert "wait_drain" in inspect.getsource(MessageAccumulator.add_batch)


def test_keys_go_where_every_other_client_sends_them() -> None:
    partitioner = DefaultPartitioner()
    for key in (b"run-1", b"\x00\xff", b"a" * 100):
        assert partition_of(key, 7) == partitioner(key, list(range(7)), [])
    assert murmur2(b"21") == -973932308 & 0xFFFFFFFF or murmur2(b"21") == -973932308


def test_a_fetch_that_waits_for_its_next_try_breaks_the_end_of_its_consumer() -> None:
    """`closing.py` does what is left; once this is mended in aiokafka it is not needed any more."""
    closes = inspect.getsource(Fetcher.close)
    assert "for x in self._pending_tasks" in closes
    assert "await x" in closes
    stop = inspect.getsource(AIOKafkaConsumer.stop)
    assert stop.index("self._fetcher.close()") < stop.index("self._client.close()")


def test_all_that_a_member_of_a_group_asks_goes_through_its_client() -> None:
    """`absence.py` looks there for what is not answered; a coordinator that is away is looked for by the same way."""
    assert "self._client.send(" in inspect.getsource(GroupCoordinator._send_req)
    assert "self._send_req(" in inspect.getsource(GroupCoordinator._do_heartbeat)
    assert "self.send(" in inspect.getsource(AIOKafkaClient.coordinator_lookup)
    assert "self._client.send(" in inspect.getsource(PromptFetcher._proc_fetch_request)


def test_a_coordinator_is_asked_through_the_administration() -> None:
    """For what it has no call for, by `bus_groups.py`; and it does not look whether it may see a group at all."""
    assert list(inspect.signature(AIOKafkaAdminClient._send_request_to_node).parameters) == [
        "self",
        "node_id",
        "request",
    ]
    assert not hasattr(AIOKafkaAdminClient, "delete_consumer_groups")
    assert "if response.error_code" not in inspect.getsource(AIOKafkaAdminClient.list_consumer_group_offsets)


def test_a_member_of_a_group_says_what_it_has_each_time_that_it_joins() -> None:
    """`bus_lines.py` and `bus_sharing.py` lean on it: an assignor may be an object, and a member has a generation."""
    join = inspect.getsource(CoordinatorGroupRebalance.perform_group_join)
    assert "assignor.metadata(topics)" in join
    complete = inspect.getsource(GroupCoordinator._on_join_complete)
    assert complete.index("assignor.on_assignment(assignment)") < complete.index("on_partitions_assigned(assigned)")
    assert "self.generation = OffsetCommitRequest.DEFAULT_GENERATION_ID" in inspect.getsource(
        GroupCoordinator.reset_generation
    )
    assert callable(GroupCoordinator.request_rejoin)
    assert ConsumerProtocolMemberAssignment(0, [("bus", [1])], b"2").user_data == b"2"


def test_a_batch_that_too_few_replicas_have_is_sent_again() -> None:
    """As long as there is patience, and under its old number: so `min.insync.replicas` is waited for."""
    assert NotEnoughReplicasError.retriable
    assert NotEnoughReplicasAfterAppendError.retriable
    can_retry = inspect.getsource(SendProduceReqHandler._can_retry)
    assert "_txn_manager is None and batch.expired()" in can_retry
    assert "return error.retriable" in can_retry


async def test_a_batch_is_kept_and_its_leader_asked_for_as_patience_says() -> None:
    """`producer.py` changes how long and how often; both are private, and used where it thinks they are."""
    assert "_batch_ttl" in inspect.getsource(MessageAccumulator._append_batch)
    assert "expired()" in inspect.getsource(MessageAccumulator.drain_by_nodes)
    assert "self.client.force_metadata_update()" in inspect.getsource(PromptSender._send)
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=123.0, max_record_bytes=1000)
    assert producer._message_accumulator._batch_ttl == 123.0
    await producer.stop()


async def test_metadata_is_asked_for_at_a_pace() -> None:
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    asked: list[float] = []
    loop = asyncio.get_running_loop()

    async def update() -> bool:
        asked.append(loop.time())
        return True

    producer._update = lambda: asyncio.ensure_future(update())
    for _ in range(3):
        assert await producer.client.force_metadata_update()
    assert [after - before >= 0.19 for before, after in itertools.pairwise(asked)] == [True, True]
    await producer.stop()


async def test_a_topic_that_is_written_to_for_the_first_time_is_asked_for_at_once() -> None:
    """The pace would cost each of a process's first writes 0.2 s."""
    source = inspect.getsource(AIOKafkaClient._wait_on_metadata)
    assert source.index("self.add_topic(topic)") < source.index("await self.force_metadata_update()")
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    asked = _listening_to(producer)
    await producer.client.force_metadata_update()
    for topic in ("one", "two"):
        producer.client.add_topic(topic)
        producer.client.add_topic(topic)
    assert len(asked) == 3
    await producer.stop()


async def test_a_question_that_is_under_way_is_joined() -> None:
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    first = producer.client.force_metadata_update()
    second = producer.client.force_metadata_update()
    under_way = producer.client._md_update_fut
    under_way.set_result(True)
    assert await asyncio.gather(first, second) == [True, True]
    assert producer.client._md_update_fut is under_way
    await producer.stop()


async def test_a_producer_leaves_everything_to_its_sender() -> None:
    """`sender.py` takes its place before it runs, and hears of every batch by the one way that there is for it."""
    stop = inspect.getsource(AIOKafkaProducer.stop)
    assert stop.index("self._sender.sender_task") < stop.index("self._sender.close()") < stop.index("client.close()")
    assert "self._sender.start()" in inspect.getsource(AIOKafkaProducer.start)
    for adds in (MessageAccumulator.add_message, MessageAccumulator.add_batch):
        source = inspect.getsource(adds)
        assert "self._append_batch(builder, tp)" in source
        assert "MessageBatch(" not in source
    assert _arguments(MessageAccumulator.drain_by_nodes) == ["self", "ignore_nodes", "muted_partitions"]
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    assert isinstance(producer._sender, PromptSender)
    assert producer._sender._message_accumulator is producer._message_accumulator
    await producer.stop()


def test_a_sender_counts_what_it_has_under_way_and_ends_when_it_is_cancelled() -> None:
    """`sender.py` adds to both before it sends, and takes the place of `_send_produce_req`."""
    sends = inspect.getsource(Sender._send_produce_req)
    assert "handler = SendProduceReqHandler(self, batches)" in sends
    assert sends.index("await handler.do(node_id)") < sends.index("_in_flight.remove(node_id)")
    assert "_muted_partitions.remove(tp)" in sends
    close = inspect.getsource(Sender.close)
    assert close.index("_sender_task.cancel()") < close.index("await self._sender_task")
    start = inspect.getsource(Sender.start)
    assert "create_task(self._sender_routine())" in start
    assert "add_done_callback(self._fail_all)" in start
    own = {name for name, _ in inspect.getmembers(PromptSender) if name in vars(PromptSender)}
    shared = own & vars(Sender).keys() - _EACH_CLASS_HAS
    assert shared == {"__init__", "_fail_all", "_sender_routine"}


async def test_who_judges_an_answer_asks_nothing_else_of_its_client() -> None:
    """`sender.py` gives it one that has the answer already."""
    judges = inspect.getsource(SendProduceReqHandler)
    asked = {"send", "force_metadata_update", "_maybe_wait_metadata"}
    assert set(re.findall(r"self\._client\.(\w+)", judges)) == asked
    told = _Answered(AIOKafkaClient(), asyncio.Future())
    assert all(hasattr(told, each) for each in asked)
    assert "await self._client.send(node_id, request)" in judges
    assert "_sender.client" not in judges


def test_a_failed_batch_wakes_whoever_waits_for_room_behind_it() -> None:
    """`sender.py` looks at that failure, for often nobody waits."""
    assert "_drain_waiter.set_exception(exception)" in inspect.getsource(MessageBatch.failure)
    assert "batch.failure(exception)" in inspect.getsource(MessageAccumulator.fail_all)


def test_a_consumer_has_one_fetcher_and_gives_it_all_its_settings() -> None:
    """`consumer.py` makes another one of the same, and refuses what that one has no use for."""
    settings = _settings_of(AIOKafkaConsumer.start, "Fetcher")
    refused = {"key_deserializer", "value_deserializer"}
    ours = _settings_of(PromptConsumer.start, "PromptFetcher")
    assert {name: value for name, value in settings.items() if name not in refused} == ours
    for each in refused:
        with pytest.raises(ValueError, match=each):
            PromptConsumer(**{each: None})
    assert "assert self._fetcher is None" in inspect.getsource(AIOKafkaConsumer.start)
    assert "self._subscriptions.register_fetch_waiters(self._fetch_waiters)" in inspect.getsource(Fetcher.__init__)


def test_a_fetcher_does_in_its_routine_what_ours_does_in_its_own() -> None:
    """All else of it is used as it is: fetches and resets are its own, and whoever consumes wakes its routine."""
    routine = inspect.getsource(Fetcher._fetch_requests_routine)
    for part in (
        "self._proc_fetch_request(assignment, node_id, request)",
        "self._update_fetch_positions(assignment, node_id, tps)",
        "assignment.unassign_future",
        "self._client.force_metadata_update()",
        "self._wait_consume_future = create_future()",
    ):
        assert part in routine
    for wakes in (Fetcher.seek_to, Fetcher.request_offset_reset):
        assert "self._notify(self._wait_consume_future)" in inspect.getsource(wakes)
    actions, ours = inspect.getsource(Fetcher._get_actions_per_node), inspect.getsource(FetchPlan)
    for part in ("calculate_backoff()", "_select_read_replica", "_fetcher_timeout"):
        assert part in actions
        assert part in ours
    # Leaders are asked for once by each metadata: it is replaced, and never changed.
    assert "self._partitions = _new_partitions" in inspect.getsource(ClusterMetadata.update_metadata)
    # What it asks of a state by properties and a method, ours looks at.
    for name, shown in (
        ("has_valid_position", "_position is not None"),
        ("position", "_position"),
        ("paused", "_paused"),
        ("resume_fut", "_resume_fut"),
    ):
        assert f".{name}" in actions
        assert f"return self.{shown}" in inspect.getsource(getattr(TopicPartitionState, name).fget)
        assert f"state.{shown.removesuffix(' is not None')}" in ours
    assert "return self._tp_state.get(tp)" in inspect.getsource(Assignment.state_value)
    assert "for tp in self._topic_partitions" in inspect.getsource(Assignment.__init__)
    assert "self._preferred_read_replica.get(tp)" in inspect.getsource(Fetcher._select_read_replica)


def test_a_fetcher_takes_what_ours_takes() -> None:
    """`fetcher.py` and `fetched.py` do it in its place, for all that it has an error of its own for."""
    takes = inspect.getsource(Fetcher._proc_fetch_request)
    assert set(re.findall(r"Errors\.(\w+)", takes)) == {
        "KafkaError",
        "NoError",
        "NotLeaderForPartitionError",
        "OffsetOutOfRangeError",
        "TopicAuthorizationFailedError",
        "UnknownTopicOrPartitionError",
        "for_code",
    }
    for part in ("tp_state.highwater =", "tp_state.lso =", "tp_state.timestamp =", "lso = part_data[0]"):
        assert part in takes
    assert "MemoryRecords(part_data[-1])" in takes
    assert "rack_aware" in takes
    assert vars(FetchError).keys() >= {"calculate_backoff", "check_raise"}
    assert "self._assignment = assignment" in inspect.getsource(TopicPartitionState.__init__)
    assert "return self.unassign_future.done() is False" in inspect.getsource(Assignment.active.fget)


def test_a_connection_takes_frames_and_fails_what_waits_when_it_is_closed() -> None:
    """`exchange.py` takes them in its place, and leaves to it all that is no packet."""
    reads = inspect.getsource(AIOKafkaConnection._read)
    assert reads.index("readexactly(4)") < reads.index("readexactly(size)") < reads.index("self._handle_frame(resp)")
    takes = inspect.getsource(AIOKafkaConnection._handle_frame)
    assert "correlation_id, request, fut = self._requests[0]" in takes
    assert takes.index("self._last_action =") < takes.index("self._requests.popleft()")
    close = inspect.getsource(AIOKafkaConnection.close)
    assert "self._writer = self._reader = None" in close
    assert close.index("for _, _, fut in self._requests") < close.index("self._requests = collections.deque()")
    sends = inspect.getsource(AIOKafkaConnection.send)
    assert sends.index("self._writer.write(size + message)") < sends.index("self._requests.append(")
    assert not vars(AIOKafkaProtocol).keys() & vars(asyncio.Protocol).keys() - _EACH_CLASS_HAS
    assert "self._conns[(node_id, group)].send(" in inspect.getsource(AIOKafkaClient.send)


def test_requests_keep_what_they_were_made_of() -> None:
    """`fetch_session.py` and `produce_packet.py` read it."""
    fetch = FetchRequest(1, 2, 3, 1, [("t", [(0, 5, 9)])], rack_id="r")
    assert (fetch._max_wait_ms, fetch._min_bytes, fetch._max_bytes, fetch._isolation_level) == (1, 2, 3, 1)
    assert (fetch.topics, fetch._rack_id) == ([("t", [(0, 5, 9)])], "r")
    produce = ProduceRequest("id", -1, 7, [("t", [(0, b"b")])])
    assert (produce._transactional_id, produce._required_acks, produce._timeout) == ("id", -1, 7)
    assert produce._topics == [("t", [(0, b"b")])]


def _arguments(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _settings_of(function: Any, called: str) -> dict[str, str]:
    """What a function calls another one with."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == called:
            return {
                **{str(place): ast.unparse(value) for place, value in enumerate(node.args)},
                **{str(each.arg): ast.unparse(each.value) for each in node.keywords},
            }
    raise AssertionError(f"{called} is not called")


def _listening_to(producer: PatientProducer) -> list[float]:
    asked: list[float] = []

    def update() -> "asyncio.Future[bool]":
        asked.append(asyncio.get_running_loop().time())
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(True)
        return answer

    producer._update = update
    return asked
