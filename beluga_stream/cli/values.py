"""What the command line gives: JSON values, pairs, and settings with some of them replaced."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from ..bootstrap.settings import Settings
from ..domain.payload import Json
from ..errors import InvalidInput
from .aside import aside

_SHOWN = 60


def settings_with(**given: object) -> Settings:
    """The environment's settings, with those options that were given. Raises `InvalidConfig`."""
    return Settings.load(**{name: value for name, value in given.items() if value is not None})


async def read_text(value: str | None, file: Path | None) -> bytes | None:
    """The bytes of an argument, a file, or with `-` of standard input. Raises `InvalidInput`."""
    if value is not None and file is not None:
        raise InvalidInput("the value is given twice: leave out either the argument or --file")
    if file is not None:
        try:
            return await aside(file.read_bytes)
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    if value == "-":
        return await aside(_standard_input)
    return None if value is None else value.encode()


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InvalidInput("standard input is closed: give the value as an argument, or with --file")
    # Not by `sys.stdin`: Python could not end while a thread that nobody waits for holds its buffer's lock.
    return io.FileIO(sys.stdin.fileno(), closefd=False).readall() or b""


async def read_json(value: str | None, file: Path | None) -> Json:
    """The same as JSON; null without any. Raises `InvalidInput`."""
    data = await read_text(value, file)
    return None if data is None else parse(data)


def parse(data: bytes) -> Json:
    """Raises `InvalidInput` that shows what is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        text = data.decode("utf-8", "replace").strip()
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        hint = ": a string needs quotes, '\"text\"'" if shown[:1].isalpha() else ""
        raise InvalidInput(f"{shown!r} is not JSON: {error}{hint}") from error


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`name=value` words as a mapping. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{option} {word!r}: write it as name=value")
        found[name] = value
    return found
