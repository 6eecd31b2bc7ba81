"""Where an error was raised, as whoever has to mend it would say: in their own file, and not in a library's."""

import site
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from types import FrameType, TracebackType

_OURS = str(Path(__file__).resolve().parents[2])
_PYTHONS = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_LIBRARIES = tuple({*_PYTHONS, *site.getsitepackages(), _OURS})
_NAMED_PARTS = 2


def place_of(trace: TracebackType | None, *, of_module: bool = False) -> tuple[str, int] | None:
    """File and line of the innermost frame of a user's code, or of the innermost one where there is none of those.

    With `of_module` only what a file itself does counts, and not what its functions do.
    """
    frames = list(traceback.walk_tb(trace))
    users = [each for each in frames if not _is_library(_file(each[0]))]
    if of_module:
        users = [each for each in users if each[0].f_code.co_name == "<module>"]
    if not frames:
        return None
    frame, line = (users or frames)[-1]
    return _file(frame), line


def users_frame(innermost: FrameType | None) -> FrameType | None:
    """The innermost frame of a user's code on a stack that runs."""
    for frame, _ in traceback.walk_stack(innermost):
        if not _is_library(_file(frame)):
            return frame
    return None


def told_place(trace: TracebackType | None) -> str:
    """The place in brackets, to be put behind a message; nothing where none is known, or none but in this package."""
    place = place_of(trace)
    if place is None or _is_within(place[0], (_OURS,)):
        return ""
    return f" ({short(*place)})"


def short(file: str, line: int) -> str:
    """As people say it: the file with its folder, and the line."""
    return f"{'/'.join(Path(file).parts[-_NAMED_PARTS:])}, line {line}"


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename


@lru_cache(maxsize=1_000)
def _is_library(file: str) -> bool:
    """Whether it is of Python, of an installed package or of this one, or was made of a text."""
    return file.startswith("<") or _is_within(file, _LIBRARIES)


def _is_within(file: str, folders: tuple[str, ...]) -> bool:
    return str(Path(file).resolve()).startswith(folders)
