"""`beluga topics check`: whether the types here go together with those of before, and what to do where not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.text import Text

from ..adapters.kafka.reader import KafkaReader
from ..application.catalog import Catalog
from ..bootstrap import asyncapi, deployment
from ..bootstrap.connection import kafka, topics
from ..bootstrap.settings import Settings
from ..bootstrap.versions import version_of
from ..domain.breaking import Break
from ..domain.contracts import Contract, Kind, State, Verdict, compare, of_definitions, of_document
from ..errors import InvalidInput, InvalidState, NotFound
from .aside import aside
from .screen import BAD, OK, WARN, console, print_json
from .values import parse, read_text, settings_with

_SHOWN = 100
_TOLD = (Kind.INPUT, Kind.OUTPUT, Kind.SIGNAL)
"""What published graphs tell of."""
_SIGNS = {
    State.COMPATIBLE: OK,
    State.REFUSED: BAD,
    State.REMOVED: BAD,
    State.ACCEPTED: WARN,
    State.NEW: Text("+", style="cyan"),
    State.UNKNOWN: Text("?", style="dim"),
}
_BACKWARD = {
    "required": ("it must be there now, and could be left out", "give it a default"),
    "additionalProperties": (
        "it was given, and further members are forbidden now",
        "keep it as an optional member, or allow further members",
    ),
}
_FORWARD = {
    "required": ("it may be missing now, and readers rely on it", "go on giving it"),
    "additionalProperties": (
        "it is given now, and readers forbid further members",
        "leave it out until they take it: deploy the readers first",
    ),
}
_READ = ("what was valid is refused now", "take what was valid, too; or give the new form a new name")
_WRITE = ("readers do not know what is written now", "write what they know, and what is new as a further member")
_UNDECIDED = (
    "the two cannot be compared, so it may be that they break",
    "leave it as it was and check more in a node; or look at both, and --accept it",
)
_GONE = {
    Kind.EVENT: ("its events start nothing any more", "go on reading them"),
    Kind.SIGNAL: ("whoever sends it is refused", "go on waiting for it under this name"),
    Kind.CHUNKS: ("whoever reads them as they come gets none", "keep the node's name"),
}
_OF_GRAPH = ("whoever starts the graph is refused", "keep the graph until nobody starts it")
_ONLY_GRAPHS = (
    "Compared with the graphs that are published on the broker. What is there tells nothing of topics and chunks, and "
    "of signals only the names: to compare these, too, keep `beluga docs asyncapi > asyncapi.json` with the code, and "
    "give it as --against."
)


async def check(
    *,
    against: str | None,
    full: bool,
    strict: bool,
    accept: Sequence[str],
    agents: str | None,
    folder: str | None,
    broker: str | None,
    as_json: bool,
) -> None:
    """Compare everything. Raises `InvalidState` in the end when something breaks."""
    settings = settings_with(agents=agents, topics=folder, broker=broker)
    loaded = await aside(deployment.load_of, settings)
    # As another program gets it, so that both sides have come the same way.
    now = of_document(orjson.loads(orjson.dumps(asyncapi.document(settings, loaded, version_of("beluga-stream")))))
    if against is None:
        before, now = await _published(settings), [each for each in now if each.kind in _TOLD]
        here = {each.of for each in now}
        # Graphs that are gone, and those of other deployments on this broker, look the same.
        before = [each for each in before if each.of in here]
    else:
        before = of_document(await _read(against))
    verdicts = [_accepted(each, accept) for each in compare(before, now, full=full, strict=strict)]
    _unused(accept, verdicts)
    if as_json:
        print_json([_as_json(each) for each in verdicts])
    else:
        _print(verdicts, against)
    wrong = [each.contract.name for each in verdicts if each.state in (State.REFUSED, State.REMOVED)]
    if wrong:
        raise InvalidState(f"{len(wrong)} of {len(verdicts)} are not compatible: {', '.join(wrong)}")


async def _published(settings: Settings) -> list[Contract]:
    names = topics(settings)
    async with KafkaReader(kafka(settings)) as reader:
        catalog = Catalog(reader, names)
        await catalog.refresh()
        found = of_definitions(plan.definition for plan in catalog.plans())
    if not found:
        raise NotFound(f"no graph is published in {names.graphs}: deploy one first, or give --against FILE")
    return found


async def _read(against: str) -> Any:
    data = await (read_text("-", None) if against == "-" else read_text(None, Path(against)))
    assert data is not None, "one of both was given"
    return parse(data)


def _accepted(verdict: Verdict, accept: Sequence[str]) -> Verdict:
    if verdict.contract.name in accept and verdict.state in (State.REFUSED, State.REMOVED):
        return Verdict(verdict.contract, State.ACCEPTED, verdict.backward, verdict.forward)
    return verdict


def _unused(accept: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    """What is accepted must be there: a slip of the pen would else be found when it is too late."""
    names = {each.contract.name for each in verdicts}
    if unknown := sorted(set(accept) - names):
        raise InvalidInput(f"--accept {unknown[0]!r}: there is no such thing; there are: {', '.join(sorted(names))}")


def _print(verdicts: Sequence[Verdict], against: str | None) -> None:
    for verdict in verdicts:
        console.print(_SIGNS[verdict.state], verdict.contract.name, Text(f" {verdict.state}", style="dim"))
        for told in _breaks(verdict):
            console.print(f"    {told['at'] or 'the value'}: {told['why']}", soft_wrap=True)
            if "was" in told:
                console.print(f"      was {_short(told['was'])}, is {_short(told['is'])}", soft_wrap=True)
            if "example" in told:
                console.print(f"      for example {_short(told['example']['value'])}", soft_wrap=True)
            console.print(f"      to do: {told['fix']}", soft_wrap=True)
    if against is None:
        console.print(_ONLY_GRAPHS, style="dim", soft_wrap=True)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    contract = verdict.contract
    return {
        "name": contract.name,
        "kind": contract.kind,
        "of": contract.of,
        "part": contract.part,
        "state": verdict.state,
        "breaks": list(_breaks(verdict)),
    }


def _breaks(verdict: Verdict) -> Iterator[dict[str, Any]]:
    kind = verdict.contract.kind
    if verdict.state is State.REMOVED or (verdict.state is State.ACCEPTED and not verdict.backward + verdict.forward):
        why, fix = _GONE.get(kind, _OF_GRAPH)
        yield {"at": "", "direction": "removed", "why": f"it is gone: {why}", "fix": fix, "certain": True}
    for each in verdict.backward:
        yield _told(each, "backward", each.written, each.read)
    for each in verdict.forward:
        yield _told(each, "forward", each.read, each.written)


def _told(found: Break, direction: str, was: Any, now: Any) -> dict[str, Any]:
    known, other = (_BACKWARD, _READ) if direction == "backward" else (_FORWARD, _WRITE)
    why, fix = known.get(found.keyword, other) if found.certain else _UNDECIDED
    told = {"at": found.at, "direction": direction, "keyword": found.keyword, "why": why, "certain": found.certain}
    if found.keyword not in known:
        told |= {"was": was, "is": now}
    if found.specimen is not None:
        told["example"] = {"at": found.specimen.at, "value": found.specimen.value}
    return told | {"fix": fix}


def _short(value: Any) -> str:
    if value is True:
        return "anything"
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
