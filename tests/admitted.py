"""Users with least rights for the processes of a session whose broker asks who is there.

`BELUGA_TEST_SECURITY=scram` gives the session such a broker (tests/secured.py): SCRAM over TLS, and everything denied
that is not granted. Every engine, gateway and command of the tests then logs in as a user of its own, who has what
`beluga acls` says and no more; an operator has made the topics before. The tests themselves come by the plain listener.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from beluga_stream.bootstrap.rights import Holder
from beluga_stream.ports.rights import Right
from tests.brokers import Broker, start_broker

T = TypeVar("T")

_REPO = Path(__file__).resolve().parent.parent


class Session:
    """The broker that asks, while there is one."""

    secured: Any = None


def start_session_broker(folder: Callable[[str], Path]) -> Broker:
    """The broker that the environment asks for. `folder` makes one for its files. Raises `BrokerUnavailable`."""
    asked = os.environ.get("BELUGA_TEST_SECURITY", "")
    if not asked:
        return start_broker(brief=True)
    assert asked == "scram", f"BELUGA_TEST_SECURITY={asked}: it may be scram, or not be set"
    from tests.secured import start_secured  # noqa: PLC0415 - few sessions need it

    Session.secured, broker = start_secured(folder("secured"))
    broker.title = f"{broker.title}, SCRAM over TLS"
    return broker


def login(environ: Mapping[str, str], holders: Sequence[Holder], folder: Path) -> dict[str, str]:
    """Variables by which a process logs in, with what these holders need in this deployment; none where nobody asks."""
    if Session.secured is None:
        return {}
    name = f"u{secrets.token_hex(6)}"
    rights = [right for holder in holders for right in _rights(holder, name, environ, folder)]
    user: Mapping[str, str] = _run(Session.secured.add_user(name, rights))
    return {f"BELUGA_{setting.upper()}": value for setting, value in user.items()}


def apply_topics(environ: Mapping[str, str], folder: Path) -> None:
    """What an operator does before the first process starts, where those may create no topic."""
    if Session.secured is not None:
        _beluga("topics", "apply", environ={**environ, **login(environ, ["operator"], folder)}, folder=folder)


def _rights(holder: Holder, name: str, environ: Mapping[str, str], folder: Path) -> list[Right]:
    told = _beluga("acls", holder, "--user", name, "--json", environ=environ, folder=folder)
    told = told[told.index("[") :]  # a deployment may print while it is imported
    return [Right(**{**right, "operations": tuple(right["operations"])}) for right in json.loads(told)]


def _beluga(*words: str, environ: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", *words],
        env={**environ, "PYTHONPATH": str(_REPO)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own: the test may have one already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
