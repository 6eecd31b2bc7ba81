import ast
from pathlib import Path

import pytest

import beluga_stream

_PACKAGE = Path(beluga_stream.__file__).parent
_FOLDERS = [
    "api",
    "adapters/kafka",
    "application",
    *(
        f"application/{each}"
        for each in (
            "bus",
            "clients",
            "coordinator",
            "durable",
            "execution",
            "in_process",
            "ingest",
            "local",
            "scheduler",
            "worker",
        )
    ),
]


@pytest.mark.parametrize("folder", _FOLDERS)
def test_a_large_folder_has_each_of_its_modules_on_its_map(folder: str) -> None:
    """Its docstring has them in rows: a module, perhaps what it is for, a colon, and the modules that belong to it."""
    modules = [path.stem for path in (_PACKAGE / folder).glob("*.py") if path.stem != "__init__"]
    packages = [f"{path.parent.name}/" for path in (_PACKAGE / folder).glob("*/__init__.py")]
    text = ast.get_docstring(ast.parse((_PACKAGE / folder / "__init__.py").read_text()))
    assert text is not None
    shown = [name for row in text.splitlines() if row.startswith("    ") for name in _modules(row)]
    assert sorted(shown) == sorted([*modules, *packages])


def _modules(row: str) -> list[str]:
    first, _, others = row.partition(":")
    return [first.partition(",")[0].strip(), *others.split()]
