"""`beluga docs asyncapi`: valid by AsyncAPI's own schema, and true of the records that the engine writes."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from beluga_stream.application import codec
from beluga_stream.application.messages import ChunkEmitted, Progress, RunChange
from beluga_stream.bootstrap import asyncapi, deployment
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline

_SPECS = "@asyncapi/specs@6.11.1"
_AGENTS = "tests.acceptance.notes"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", "docs", "asyncapi", "--agents", _AGENTS, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("agents", [_AGENTS, "agents", "tests.acceptance.tellers"])
def test_it_is_valid_by_the_schema_of_asyncapi(agents: str, tmp_path: Path) -> None:
    schema = _published_schema(tmp_path)
    told = asyncapi.document(Settings.load(), deployment.load(agents), "1")
    errors = [f"{list(error.instance_path)}: {error.message}" for error in schema.iter_errors(told)]
    assert errors == []
    for ref in _refs(told):
        found: Any = told
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]


def test_it_has_every_topic_and_graph(document: dict[str, Any]) -> None:
    own = {f"beluga.{name}" for name in ("run-requests", "run-events", "node-done", "run-results", "runs", "graphs")}
    assert own | {"acceptance.notes"} <= set(document["channels"])
    assert document["operations"]["start.notes"]["channel"] == {"$ref": "#/channels/beluga.run-requests"}
    assert document["operations"]["trigger.notes.acceptance.notes"]["action"] == "receive"
    assert document["components"]["schemas"]["acceptance.notes.event"]["$ref"].endswith("/Doc")


def test_what_the_engine_writes_and_takes_fits_it(document: dict[str, Any]) -> None:
    run, at = RunId("r"), {"at_ms": 1}
    request = RunRequested(run=run, key="r", graph="notes", input=Inline({"text": "a"}), digest="d", **at)
    wrong = RunRequested(run=run, key="r", graph="notes", input=Inline({"txt": "a"}), digest="d", **at)
    chunk = ChunkEmitted(
        run=run, node=NodeKey("a"), attempt=1, incarnation=Incarnation("i"), seq=0, value=Inline("x"), **at
    )
    progress = Progress(run=run, graph="notes", status=RunChange("running", 1), **at)
    start, results = _message(document, "start.notes"), _message(document, "run-results")
    assert start.is_valid(json.loads(codec.incoming.encode(request)))
    assert not start.is_valid(json.loads(codec.incoming.encode(wrong)))
    for record in (chunk, progress):
        assert results.is_valid(json.loads(codec.results.encode(record)))
    assert not results.is_valid({"type": "chunk"})
    event = _message(document, "acceptance.notes.event")
    assert event.is_valid({"text": "a"})
    assert not event.is_valid({"text": 1})


def _message(document: dict[str, Any], name: str) -> jsonschema_rs.Validator:
    schema = {"$ref": f"#/components/messages/{name}/payload", "components": document["components"]}
    return jsonschema_rs.validator_for(schema)


def _refs(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        own = [tree["$ref"]] if isinstance(tree.get("$ref"), str) else []
        return own + [ref for value in tree.values() for ref in _refs(value)]
    return [ref for value in tree for ref in _refs(value)] if isinstance(tree, list) else []


def _published_schema(folder: Path) -> jsonschema_rs.Validator:
    """AsyncAPI's own, as npm has it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, and the schema of AsyncAPI comes by it")
    done = subprocess.run(
        [npm, "pack", "--silent", _SPECS], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        pytest.skip(f"npm cannot get {_SPECS}: {done.stderr.strip()[-200:]}")
    with tarfile.open(folder / done.stdout.strip()) as packed:
        file = packed.extractfile("package/schemas/3.0.0.json")
        assert file is not None
        return jsonschema_rs.validator_for(json.load(file))
