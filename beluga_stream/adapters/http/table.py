"""The table of operations: names, paths, who may, what each takes and gives. Routes and OpenAPI follow from it."""

from ...domain.state import RunStatus
from . import form
from .operation import Operation, Parameter
from .operations import PAGE, RESULT_MOST_SECONDS, Operations

_RUN = "/v1/runs/{run}"
_OFFSETS = 2**62

AFTER = Parameter("after", "Only what follows this event's cursor; `live`: only what is new.", form.CURSOR_PATTERN)
ASKED = (
    Parameter("digest", "Of the start: only its own refusal ends the stream.", r"^[0-9a-f]{1,64}$"),
    Parameter("since", "Of the start.", number=(0, _OFFSETS), whole=True),
    Parameter("ends_after", "Of a retry: an end before it does not end the stream.", number=(0, _OFFSETS), whole=True),
)
OUTPUTS = Parameter("outputs", "`true`: tell also what each node gave.", flag=True)
TOKEN = Parameter("token", "A stream token, for clients that send no headers.", most_letters=2_000)
_TIMEOUT = Parameter(
    "timeout",
    "Most seconds to wait for what is not there; then 409 with the code `timeout`.",
    number=(0, RESULT_MOST_SECONDS),
)
_KEY = Parameter(
    "idempotency-key", "The same key is the same run.", r"^[\x20-\x7e]+$", place="header", most_letters=form.KEY_MOST
)

TABLE: tuple[Operation, ...] = (
    Operation(
        "startRun",
        "POST",
        "/v1/graphs/{graph}/runs",
        "Start a run. It is durable when this answers.",
        "start",
        Operations.start,
        form.StartForm,
        form.StartedView,
        202,
        (_KEY,),
        (404, 409, 413, 422),
    ),
    Operation(
        "listGraphs",
        "GET",
        "/v1/graphs",
        "The graphs that may be started.",
        "read",
        Operations.list_graphs,
        gives=form.GraphsView,
    ),
    Operation(
        "showGraph",
        "GET",
        "/v1/graphs/{graph}",
        "One graph, with the schema of its input and its nodes.",
        "read",
        Operations.show_graph,
        gives=form.DrawnView,
        problems=(404,),
    ),
    Operation(
        "listRuns",
        "GET",
        "/v1/runs",
        "The runs that are remembered, oldest first, or with `newest` newest first.",
        "read",
        Operations.list_runs,
        gives=form.RunsView,
        problems=(422,),
        parameters=(
            Parameter("graph", "Only those of this graph."),
            Parameter("status", f"Only those with this status: {', '.join(RunStatus)}.", f"^({'|'.join(RunStatus)})$"),
            Parameter("tag", "Only those with this tag, `name=value`.", r"^[^=]+=", many=True),
            Parameter("limit", "Most runs in the answer.", number=(1, PAGE), whole=True),
            Parameter("newest", "`true`: the newest run comes first.", flag=True),
            Parameter("after", "The `next` of the page before.", r"^\d{1,18}-[A-Za-z0-9_-]{1,128}$"),
        ),
    ),
    Operation(
        "showRun", "GET", _RUN, "Where a run stands.", "read", Operations.show_run, gives=form.RunView, problems=(404,)
    ),
    Operation(
        "runResult",
        "GET",
        f"{_RUN}/result",
        "Wait for what a run gives.",
        "read",
        Operations.result,
        gives=form.OutputView,
        parameters=(_TIMEOUT, *ASKED),
        problems=(404, 409, 410),
    ),
    Operation(
        "nodeOutput",
        "GET",
        f"{_RUN}/nodes/{{node}}/output",
        "Wait for what one node of a run gives.",
        "read",
        Operations.node_output,
        gives=form.OutputView,
        parameters=(_TIMEOUT, *ASKED),
        problems=(404, 409, 410),
    ),
    Operation(
        "streamRun",
        "GET",
        f"{_RUN}/events",
        "Follow a run: server-sent events, or with an upgrade a WebSocket of the same. Every event's `id` is "
        "the cursor that `Last-Event-ID` or `after` goes on from. 204: there is nothing after the cursor.",
        "read",
        parameters=(AFTER, OUTPUTS, *ASKED, TOKEN),
        problems=(404, 410, 422),
    ),
    Operation(
        "streamToken",
        "POST",
        f"{_RUN}/stream-token",
        "A short-lived token for the URL of this run's stream.",
        "read",
        Operations.stream_token,
        gives=form.StreamTokenView,
    ),
    Operation(
        "cancelRun",
        "POST",
        f"{_RUN}/cancel",
        "Ask for a run's end.",
        "control",
        Operations.cancel,
        form.CancelForm,
        form.AskedView,
        202,
        problems=(413,),
    ),
    Operation(
        "retryRun",
        "POST",
        f"{_RUN}/retry",
        "Let a failed run go on from its failed nodes.",
        "control",
        Operations.retry,
        gives=form.RetryView,
        status=202,
        problems=(409, 410),
    ),
    Operation(
        "forkRun",
        "POST",
        f"{_RUN}/fork",
        "Start a run that goes on from this one at a node. It is durable when this answers.",
        "start",
        Operations.fork,
        form.ForkForm,
        form.StartedView,
        202,
        (_KEY,),
        (404, 409, 410, 413, 422),
    ),
    Operation(
        "overrideNode",
        "POST",
        f"{_RUN}/nodes/{{node}}/override",
        "Give a node of a run that goes on, or may be retried, another timeout or number of attempts.",
        "control",
        Operations.override,
        form.OverrideForm,
        form.AskedView,
        202,
        problems=(404, 409, 410, 413, 422),
    ),
    Operation(
        "signalRun",
        "POST",
        f"{_RUN}/signals/{{signal}}",
        "Send a signal to a run.",
        "control",
        Operations.signal,
        form.SignalForm,
        form.AskedView,
        202,
        problems=(404, 413),
    ),
    Operation(
        "publishEvent",
        "POST",
        "/v1/topics/{topic}/events",
        "Publish an event: JSON as it is, or a CloudEvent (binary or structured mode).",
        "publish",
        Operations.publish,
        gives=form.PublishedView,
        status=202,
        raw=True,
        problems=(404, 413),
        parameters=(Parameter("key", "The record's key.", most_letters=1_000),),
    ),
)
