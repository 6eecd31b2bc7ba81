"""What docs/workflows.md says of DBOS is tried: its program prints what it prints there."""

import os
import re
import subprocess
import sys
from pathlib import Path

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "workflows.md"


def test_its_program_prints_what_it_says(tmp_path: Path) -> None:
    text = _DOCUMENT.read_text()
    for name, code in re.findall(r"^```python\n# (approvals|here)\.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / f"{name}.py").write_text(code)
    (said,) = re.findall(r"^It prints `(.*)`\.", text, re.MULTILINE)
    program = [sys.executable, "-W", "error", "here.py"]
    environ = {**os.environ, "BELUGA_DBOS_DATABASE": str(tmp_path / "dbos.sqlite")}
    done = subprocess.run(program, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"{said}\n", "")
