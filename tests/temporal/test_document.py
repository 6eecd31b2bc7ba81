"""What docs/workflows.md says is tried: its files, its worker, and its client, which prints what it prints there."""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "workflows.md"


def test_its_client_prints_what_it_says(temporal_address: str, tmp_path: Path) -> None:
    text = _DOCUMENT.read_text()
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        named = re.match(r"# (\w+\.py)\n", code)
        assert named is not None, "each of its programs is a file"
        (tmp_path / named.group(1)).write_text(code)
    (said,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    environ = {
        **os.environ,
        "BELUGA_TEMPORAL_ADDRESS": temporal_address,
        "BELUGA_TEMPORAL_TASK_QUEUE": secrets.token_hex(8),
    }
    worker = [sys.executable, "worker.py"]
    with subprocess.Popen(worker, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            client = [sys.executable, "client.py"]
            done = subprocess.run(
                client, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.stdout == said, done.stderr
        finally:
            process.kill()
