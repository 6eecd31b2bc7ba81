"""What the adapter of Temporal decides by itself, without a server."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import RetryState
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004 - Temporal's

from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.adapters.temporal.converter import SealingCodec, converter
from beluga_stream.adapters.temporal.envelopes import HANDED_BACK, Beaten, Told
from beluga_stream.adapters.temporal.lost import events_of, needs_pause
from beluga_stream.adapters.temporal.queues import queue_for
from beluga_stream.adapters.temporal.running import GraphRunner, Terms
from beluga_stream.application.messages import NodeReady
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.deployment import Programs
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.bootstrap.temporal import temporal
from beluga_stream.domain.events import CancelRequested, DispatchLost, LeaseExpired, NodeReleased, NodeStarted
from beluga_stream.domain.ids import GraphHash, Incarnation, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.state import NodeState, NodeStatus
from beluga_stream.errors import InvalidConfig, KeyMissing, Tampered, TaskCanceled
from beluga_stream.ports.workflow_runner import Started
from tests.temporal import works

RUN = RunId("a" * 32)
NODE = NodeKey("node")
MINE, OTHER = Incarnation("mine"), Incarnation("other")
WORK = NodeReady(
    run=RUN,
    key=RUN,
    root=RUN,
    graph="g",
    definition=GraphHash("h"),
    node=NODE,
    name=NodeName(NODE),
    attempt=2,
    arguments=(),
    generation=0,
    at_ms=0,
)


class Person(BaseModel):
    name: str


def error(cause: BaseException) -> ActivityError:
    made = ActivityError(
        "activity failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="t",
        activity_id="1",
        retry_state=RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED,  # type: ignore[arg-type]  # nobody looks at it
    )
    made.__cause__ = cause
    return made


def silent(*details: Any) -> TimeoutError:
    return TimeoutError("no heartbeat", type=TimeoutType.HEARTBEAT, last_heartbeat_details=details)


async def test_envelopes_and_users_values_keep_their_types() -> None:
    data = converter(None)
    cancel = Told(CancelRequested(run=RUN, key=RUN, at_ms=1, reason="why"))
    payloads = await data.encode([cancel, Person(name="ann"), [1, 2], None])
    assert await data.decode(payloads, [Told, Person, list[int], type(None)]) == [
        cancel,
        Person(name="ann"),
        [1, 2],
        None,
    ]
    assert payloads[0].metadata["encoding"] == b"json/plain"


async def test_with_keys_payloads_are_sealed_and_opened_by_older_keys() -> None:
    old, new = AesGcm({"a": bytes(32)}), AesGcm({"b": bytes([1]) * 32, "a": bytes(32)})
    sealed = await converter(old).encode(["secret"])
    assert b"secret" not in sealed[0].SerializeToString()
    assert await converter(new).decode(sealed) == ["secret"]
    with pytest.raises(KeyMissing, match="'b'"):
        await converter(old).decode(await converter(new).encode(["secret"]))
    sealed[0].data = sealed[0].data[:-1] + bytes([sealed[0].data[-1] ^ 1])
    with pytest.raises(Tampered):
        await converter(new).decode(sealed)
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    assert await SealingCodec(new).decode([plain]) == [plain]


def test_a_worker_that_died_has_lost_its_lease_and_what_it_told_is_kept() -> None:
    lost = error(silent({"details": {"kind": "inline", "value": 3}}))
    begun, expired = events_of(WORK, MINE, lost, NodeState(NodeStatus.READY, attempt=2), 5)
    assert isinstance(begun, NodeStarted)
    assert isinstance(expired, LeaseExpired)
    assert (expired.incarnation, expired.attempt, expired.details) == (MINE, 2, Inline(3))
    held = NodeState(NodeStatus.RUNNING, attempt=2, incarnation=MINE)
    [again] = events_of(WORK, MINE, error(silent()), held, 5)
    assert isinstance(again, LeaseExpired)
    assert again.details is None
    assert not needs_pause(lost)
    assert Beaten().details is None


def test_work_that_is_handed_back_counts_as_nobodys_fault() -> None:
    back = error(ApplicationError("stops", type=HANDED_BACK))
    [lost] = events_of(WORK, MINE, back, NodeState(NodeStatus.READY, attempt=2), 5)
    [released] = events_of(WORK, MINE, back, NodeState(NodeStatus.RUNNING, attempt=2, incarnation=MINE), 5)
    [others] = events_of(WORK, MINE, back, NodeState(NodeStatus.RUNNING, attempt=2, incarnation=OTHER), 5)
    assert isinstance(lost, DispatchLost)
    assert isinstance(released, NodeReleased)
    assert isinstance(others, DispatchLost)
    assert not needs_pause(back)
    assert needs_pause(error(ApplicationError("the log is away", type="LogUnavailable")))


@pytest.mark.parametrize("kind", [HANDED_BACK, "LogUnavailable"])
def test_who_gives_work_back_says_what_its_handler_has_told(kind: str) -> None:
    back = error(ApplicationError("stops", {"details": {"kind": "inline", "value": 3}}, type=kind))
    held = NodeState(NodeStatus.RUNNING, attempt=2, incarnation=MINE)
    [released] = events_of(WORK, MINE, back, held, 5)
    begun, soon = events_of(WORK, MINE, back, NodeState(NodeStatus.READY, attempt=2), 5)
    assert isinstance(begun, NodeStarted)
    for each in (released, soon):
        assert isinstance(each, NodeReleased)
        assert (each.incarnation, each.attempt, each.details) == (MINE, 2, Inline(3))


def test_node_queues_have_task_queues() -> None:
    assert queue_for("beluga-workflows", "default") == "beluga-workflows"
    assert queue_for("beluga-workflows", "gpu") == "beluga-workflows.gpu"
    assert Programs([works.asking]).queues == ("default",)


def test_an_api_key_is_never_shown_and_means_tls(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.load(temporal_api_key="very-secret")
    connection = temporal(settings)
    assert connection.api_key == "very-secret"
    assert connection.tls
    assert "very-secret" not in f"{settings!r} {connection!r} {caplog.text}"


async def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    half = TemporalConnection(certificate=tmp_path / "cert.pem")
    with pytest.raises(InvalidConfig, match="belong together"):
        await half.client()
    with pytest.raises(InvalidConfig, match="BELUGA_TEMPORAL_TLS_CA"):
        await TemporalConnection(authority=tmp_path / "none.pem").client()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="BELUGA_TEMPORAL_ADDRESS"):
        Settings.load(temporal_address="nowhere")


class Ended:
    """A client whose every workflow has ended with this error."""

    def __init__(self, cause: BaseException) -> None:
        self._cause = cause

    def get_workflow_handle(self, *_: Any, **__: Any) -> "Ended":
        return self

    async def result(self) -> Any:
        raise WorkflowFailureError(cause=self._cause)


async def test_a_run_that_was_cancelled_before_its_last_execution_is_told_as_cancelled() -> None:
    """The execution that ends it was not cancelled itself, so that Temporal can only show it as failed."""
    cause = ApplicationError("the run has cancelled", {"status": "cancelled", "failure": {"code": "x", "message": "y"}})

    async def connect() -> Any:
        return Ended(cause)

    runner = GraphRunner(
        connect,
        Terms("queue"),
        works.asking.compile(),
        topics=Topics(),
        payloads=Payloads(MemoryBlobs()),
        clock=SystemClock(),
    )
    with pytest.raises(TaskCanceled):
        await runner.result(Started("run"))
