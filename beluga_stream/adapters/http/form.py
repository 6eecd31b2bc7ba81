"""What requests bring and answers hold, as types: by them requests are checked, and the OpenAPI document is made."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...domain.definition import LONGEST_TIMEOUT_MS
from ...domain.retry import MOST_ATTEMPTS

RUN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
NAME_PATTERN = r"^[^/\x00-\x1f]{1,200}$"
KEY_MOST = 256
CURSOR_PATTERN = r"^(live|\d{1,9}-\d{1,18}(\.\d{1,9})?)$"

_Tag = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Word = Annotated[str, StringConstraints(max_length=1_000)]
_YEAR_MS = 366 * 24 * 3_600_000


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StartForm(_In):
    """A run to start."""

    input: Any = Field(None, description="The graph's input, by its schema (`GET /v1/graphs/{graph}`).")
    tags: dict[_Tag, _Word] = Field(default_factory=dict, max_length=64, description="Kept with the run, for lists.")
    timeout_ms: int | None = Field(
        None,
        ge=1,
        le=_YEAR_MS,
        description="How long it may take, if its graph does not allow less: then it fails, and is undone.",
    )


class CancelForm(_In):
    """Why a run is cancelled."""

    reason: _Word = Field("", description="For whoever looks at the run later.")


class SignalForm(_In):
    """A signal's value."""

    value: Any = Field(None, description="JSON of the signal's type.")
    id: _Tag | None = Field(None, description="The same id twice is one signal; by default each is a new one.")


class ForkForm(_In):
    """Where a fork goes on."""

    node: str = Field(min_length=1, max_length=200, description="It and what follows run anew.")
    input: Any = Field(
        None,
        description="What the node is given instead of what it was; of several parameters an object with some of them. "
        "Left out: as it was.",
    )


class OverrideForm(_In):
    """What a node of one run has instead of what its definition says. Give at least one; null is the definition's."""

    timeout_ms: int | None = Field(None, ge=1, le=LONGEST_TIMEOUT_MS, description="Bounds one attempt.")
    attempts: int | None = Field(None, ge=1, le=MOST_ATTEMPTS, description="The first one included.")


class Nothing(_In):
    """No fields."""


class StartedView(BaseModel):
    """A start that is durable; the engine decides on it next."""

    run: str
    graph: str
    events: str = Field(description="Where to follow it.")
    digest: str = Field(description="Of the input: a refusal with another digest answers another start.")
    since: int = Field(description="Where the run's stream ended before this start.")


class AskedView(BaseModel):
    """A request about a run that is durable. What comes of it is in the run's stream."""

    run: str


class RetryView(AskedView):
    """A retry that is durable."""

    ends_after: int = Field(description="An end of the run before this offset is not that of the retry.")


class FailureView(BaseModel):
    """Why a run failed."""

    code: str
    message: str
    node: str | None = None
    attempt: int | None = None
    retry_after_ms: int | None = Field(
        None, description="How long what failed asks to be left alone before another attempt, where it says so."
    )


class RunView(BaseModel):
    """Where a run stands. Times in epoch milliseconds."""

    run: str
    graph: str
    status: str
    trigger: str
    started_ms: int
    ended_ms: int | None
    tags: dict[str, str]
    parent: str | None
    error: FailureView | None
    forked_from: str | None = Field(None, description="The run that it goes on from, when it is a fork.")
    retry_until_ms: int | None = Field(
        None, description="Of a failed run: until when it can be retried; its end, when it cannot."
    )


class RunsView(BaseModel):
    """A page of runs. `next` is the `after` of the next page; null on the last."""

    runs: list[RunView]
    next: str | None


class OutputView(BaseModel):
    """What a run, or a node of it, gave."""

    run: str
    output: Any


class NodeView(BaseModel):
    """A node of a graph. Schemas are JSON schema; null allows anything."""

    name: str
    kind: str
    after: list[str] = Field(description="The nodes whose ends it waits for.")
    signal: str | None = Field(description="Of a wait: the signal it waits for.")
    signal_schema: dict[str, Any] | None


class GraphView(BaseModel):
    """A graph that may be started. `input_schema` is JSON schema; null allows anything."""

    name: str
    definition: str
    input_schema: dict[str, Any] | None


class DrawnView(GraphView):
    """A graph with its nodes, each after those it waits for."""

    nodes: list[NodeView]
    finish: list[str] = Field(description="The nodes whose outputs are the run's.")


class GraphsView(BaseModel):
    """The graphs that are deployed."""

    graphs: list[GraphView]


class PublishedView(BaseModel):
    """Where an event lies."""

    topic: str
    partition: int
    offset: int


class StreamTokenView(BaseModel):
    """A token for the URL of one run's stream."""

    token: str
    expires_ms: int
    events: str = Field(description="The stream's path with the token in it, for `EventSource`.")


class HealthView(BaseModel):
    """Whether the gateway takes requests."""

    status: str
    streams: int


class ProblemView(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    ids: dict[str, str]
    retryable: bool
    reason: str | None = None
