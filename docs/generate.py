"""Writes the pages of docs/ that follow from the code. A test checks that they are current.

python docs/generate.py
"""

# ruff: noqa: INP001 - a script beside the pages that it writes, and no package

import inspect
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from beluga_stream import errors as tree  # noqa: E402
from beluga_stream.adapters.http.problem import Problem  # noqa: E402
from beluga_stream.adapters.otel.catalog import METRICS  # noqa: E402
from beluga_stream.bootstrap.rights import HOLDERS, Uses, rights_of  # noqa: E402
from beluga_stream.bootstrap.settings import Settings  # noqa: E402
from beluga_stream.cli.exits import code_of  # noqa: E402
from beluga_stream.domain import transitions  # noqa: E402
from beluga_stream.domain.state import NODE_ENDED, RUN_ENDED, NodeStatus, RunStatus  # noqa: E402

GENERATED = "<!-- Written by docs/generate.py: change the code and run it again. -->"

# What happens to a node by the graph around it and not by an event of its own: no rows of the table.
_BY_THE_GRAPH = (
    (NodeStatus.PENDING, NodeStatus.READY, "its edges allow it"),
    (NodeStatus.PENDING, NodeStatus.LIMITED, "its edges allow it, and it has limits"),
    (NodeStatus.PENDING, NodeStatus.WAITING, "its edges allow it"),
    (NodeStatus.PENDING, NodeStatus.SUCCEEDED, "nothing to do or to wait for"),
    (NodeStatus.PENDING, NodeStatus.SKIPPED, "its edges are dead"),
    (NodeStatus.FAILED, NodeStatus.PENDING, "retry of the run"),
    (NodeStatus.CANCELLED, NodeStatus.PENDING, "retry of the run"),
)

_RUN = (
    ("[*]", RunStatus.RUNNING, "RunRequested"),
    ("[*]", RunStatus.LIMITED, "RunRequested, when its graph has limits"),
    ("[*]", RunStatus.CANCELLED, "CancelRequested before it"),
    (RunStatus.LIMITED, RunStatus.RUNNING, "SlotGranted, the last of its limits"),
    (RunStatus.LIMITED, RunStatus.COMPENSATING, "it waited too long"),
    (RunStatus.LIMITED, RunStatus.CANCELLED, "CancelRequested"),
    (RunStatus.RUNNING, RunStatus.SUCCEEDED, "every node has ended"),
    (RunStatus.RUNNING, RunStatus.COMPENSATING, "a node failed, or the deadline passed"),
    (RunStatus.COMPENSATING, RunStatus.FAILED, "nothing is left to undo"),
    (RunStatus.RUNNING, RunStatus.CANCELLED, "CancelRequested"),
    (RunStatus.COMPENSATING, RunStatus.CANCELLED, "CancelRequested"),
    (RunStatus.FAILED, RunStatus.RUNNING, "RetryRequested, when nothing was undone"),
    (RunStatus.FAILED, RunStatus.LIMITED, "the same, when its graph has limits"),
)


def state_machine() -> str:
    """docs/state-machine.md: the theory of operation, and both drawings."""
    theory = (transitions.__doc__ or "").strip().splitlines()
    arrows: dict[tuple[NodeStatus, NodeStatus], list[str]] = {}
    for (status, event), transition in transitions.TABLE.items():
        for after in transition.leads_to:
            arrows.setdefault((status, after), []).append(event.__name__)
    for status, after, why in _BY_THE_GRAPH:
        arrows.setdefault((status, after), []).append(why)
    node = [f"    [*] --> {NodeStatus.PENDING}"]
    node += [f"    {status} --> {after}: {', '.join(names)}" for (status, after), names in arrows.items()]
    node += [f"    {status} --> [*]" for status in NodeStatus if status in NODE_ENDED]
    run = [f"    {status} --> {after}: {why}" for status, after, why in _RUN]
    run += [f"    {status} --> [*]" for status in RunStatus if status in RUN_ENDED]
    rows = [
        f"| {status} | {event.__name__} | {', '.join(transition.leads_to)} |"
        for (status, event), transition in transitions.TABLE.items()
    ]
    return "\n".join(
        [
            "# State machine",
            "",
            GENERATED,
            "",
            *(line for line in theory if not line.startswith("The drawing in")),
            "",
            "## A node",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *node,
            "```",
            "",
            "Every node that has begun and not ended becomes `cancelled` when its run fails or is cancelled,",
            "or when a `first` or `n_of` join has enough without it; those arrows are left out.",
            "",
            "| from | event | to |",
            "|---|---|---|",
            *rows,
            "",
            "## A run",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *run,
            "```",
            "",
        ]
    )


_SECTIONS = {
    "broker": "The broker",
    "role": "The process",
    "prefix": "Topics, and how long things are kept",
    "store": "Tables, large values and keys",
    "dedup_window_hours": "Starts",
    "queues": "Workers",
    "stuck_after_seconds": "Runs that wait, processes that stop",
    "http_address": "The gateway and its clients",
    "temporal_address": "Durable graphs",
    "telemetry": "Observation",
}
"""Headings of docs/configuration.md, each by its first setting."""


def configuration() -> str:
    """docs/configuration.md: every setting with its unit and default."""
    assert _SECTIONS.keys() <= Settings.model_fields.keys(), "a section begins with a setting that there is"
    rows: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            rows += ["", f"## {_SECTIONS[name]}", "", "| variable | default | what it says |", "|---|---|---|"]
        default = field.get_default()
        if isinstance(default, tuple):
            default = ",".join(default)
        shown = "" if default is None else f"`{default}`"
        rows.append(f"| `BELUGA_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(
        [
            "# Configuration",
            "",
            GENERATED,
            "",
            "Every setting is an environment variable; units stand in the names or the text. A wrong value stops the",
            "process with one line that names the variable. Secrets are never shown. A variable that begins with",
            "`BELUGA_` and is none of these is ignored: each engine process, `beluga serve` and `beluga doctor` warn",
            "of it, and name the setting that is most likely meant.",
            *rows,
            "",
        ]
    )


def security() -> str:
    """docs/security.md: written by hand, but for the table of rights."""
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(_RIGHTS_BEGIN)
    _, end, after = rest.partition(_RIGHTS_END)
    settings = Settings.model_construct()
    uses = Uses(sources=("documents.submitted",), follows_runs=True, gathers=True)
    rows = ["| role | resource | name | operations | what for |", "|---|---|---|---|---|"]
    for holder in HOLDERS:
        for right in rights_of(holder, settings, uses):
            name = f"{right.name}{'*' if right.prefixed else ''}"
            rows.append(f"| {holder} | {right.resource} | `{name}` | {', '.join(right.operations)} | {right.why} |")
    return "\n".join([before + begin, *rows, end]) + after


_RIGHTS_BEGIN = "<!-- rights: written by docs/generate.py from beluga_stream/bootstrap/rights.py -->"
_RIGHTS_END = "<!-- /rights -->"


def observability() -> str:
    """docs/observability.md: written by hand, but for the list of metrics."""
    text = (DOCS / "observability.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(_METRICS_BEGIN)
    _, end, after = rest.partition(_METRICS_END)
    rows = ["| metric | type | unit | attributes | what it is | told by |", "|---|---|---|---|---|---|"]
    for metric in METRICS:
        attributes = ", ".join(f"`{name}`" for name in metric.attributes)
        rows.append(
            f"| `orchestration_{metric.name}` | {_TYPES[metric.type]} | `{metric.unit}` | {attributes} "
            f"| {metric.meaning} | {metric.told_by} |"
        )
    return "\n".join([before + begin, *rows, end]) + after


_TYPES = {"counter": "counter", "updown": "up-down counter", "histogram": "histogram", "gauge": "gauge"}
_METRICS_BEGIN = "<!-- metrics: written by docs/generate.py from beluga_stream/adapters/otel/catalog.py -->"
_METRICS_END = "<!-- /metrics -->"


def errors() -> str:
    """docs/errors.md: every error of the tree, by what its docstring says."""
    kinds = [kind for kind in vars(tree).values() if isinstance(kind, type) and issubclass(kind, tree.BelugaError)]
    rows = []
    for kind in kinds:
        text = " ".join((inspect.cleandoc(kind.__doc__ or "")).split())
        said = re.fullmatch(r"(?P<meaning>.+) Whose fault: (?P<fault>.+)\. To do: (?P<todo>.+)\.", text)
        assert said is not None, f"the docstring of {kind.__name__} must end in: Whose fault: ... . To do: ... ."
        by_reason = "reason" in inspect.signature(kind).parameters
        retryable = "by `reason`" if by_reason else "yes" if kind.retryable else "no"
        exit_code = "by `reason`" if kind is tree.RunRejected else str(code_of(kind("")))
        rows.append(
            f"| `{kind.code}` | `{kind.__name__}` | {said['meaning']} | {said['fault']} | {said['todo']} | {retryable} "
            f"| {Problem.of(kind('')).status} | {exit_code} |"
        )
    return "\n".join([*_ERRORS_HEAD, *rows, ""])


_ERRORS_HEAD = """# Errors

<!-- Written by docs/generate.py from beluga_stream/errors.py: change the code and run it again. -->

Everything that goes wrong is an error of one tree, `beluga_stream.errors`; its base is `BelugaError`. `invoke()`,
clients and the [orchestrator](orchestrator.md) raise them. They are the problem documents of
[the gateway](http.md#errors), what [commands](cli.md) print, and the `failure` of nodes and runs
[on the wire](wire.md).

| in Python | in JSON | what it is |
|---|---|---|
| `error.code` | `code` | stable; several classes may share one, and say more |
| `type(error).__name__` | `title` of a problem document | the class |
| `str(error)`, `error.message` | `message`, or `detail` | what happened and what to do, for people; it may change |
| `error.ids` | `ids` | what it is about: `run`, `node`, `attempt`, `graph`, `topic`, `file`, ...; those that apply |
| `error.retryable` | `retryable` | whether the same call may succeed later |
| `error.reason` | `reason` | of `RunFailed` and `RunRejected`: the code of what made the run fail, or be refused |
| `error.__cause__` | | what led to it |

An exception of a handler that is none of these becomes `execution_failed`; one that is keeps its code, and its
`retryable` says whether another attempt can help.

In the table, *again* says whether the same call may succeed later, *HTTP* the status with which the gateway answers,
and *exit* the exit code of `beluga`. `invalid_input` is also answered by 400, 405 and 415, `access_denied` by 401, and
`timeout` by 408, for a body that does not come, and by 409, for a run that takes longer than its caller waits.

| code | class | what it means | whose fault | what to do | again | HTTP | exit |
|---|---|---|---|---|---|---|---|""".splitlines()

PAGES = {
    "configuration.md": configuration,
    "errors.md": errors,
    "observability.md": observability,
    "security.md": security,
    "state-machine.md": state_machine,
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
