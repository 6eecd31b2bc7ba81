"""What docs/testing.md shows is what a user can type."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import run_id
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.simulation.uses import used

_ROOT = Path(__file__).parents[2]


def test_the_page_on_testing_works_as_it_stands(tmp_path: Path) -> None:
    page = (_ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL))
    assert list(files) == ["sales.py", "conftest.py", "test_sales.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COVERAGE"))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 passed" in done.stdout


@pytest.mark.parametrize("seed", range(8))
def test_the_join_of_the_page_on_triggers_answers_what_is_complete_and_what_is_not(seed: int) -> None:
    """One order is paid; the payment of the other never comes."""
    page = (_ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "snippets"}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(snippet, "triggers.md", "exec"), names)
    program, triggers = names["settling"].deploy()
    (trigger,) = triggers

    async def use(cluster: Cluster, runs: Runs) -> None:
        window = int((EPOCH_MS / 1000 + asyncio.get_running_loop().time()) // 600 + 1) * 600_000
        await asyncio.sleep((window - EPOCH_MS) / 1000 - asyncio.get_running_loop().time() + 1)
        for topic, value in (
            ("orders", b'{"id": "paid", "amount": 3}'),
            ("payments", b'{"order_id": "paid", "amount": 3}'),
            ("orders", b'{"id": "unpaid", "amount": 5}'),
        ):
            await cluster.log.append([Outgoing(topic, b"k", value)])
        for key, result in (("paid", "settled paid"), ("unpaid", "somebody has to look at this")):
            run = run_id("settling", trigger.name, f"{key}\x1f{window}+600000")
            async with asyncio.timeout(3_600):
                assert await runs.result(run) == result

    used(seed, [program], use, triggers=triggers, options=ClusterOptions(user_topics={"orders": 2, "payments": 1}))
