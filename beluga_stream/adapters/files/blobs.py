"""Blobs as files, through fsspec: a local folder by default, any object store by its URL."""

import asyncio
import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar

import fsspec

from ...bounds import within
from ...errors import BelugaError, InvalidConfig, InvalidInput, LogUnavailable, NotFound

_TIMEOUT_SECONDS = 60.0
_TRIES = 5
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""A reference comes with a record that anybody may have written: one that names a folder, or something below a file, is
no outage of the store."""

_AT_ONCE, _OBJECTS_AT_ONCE = 1_000, 50
"""How many files one call of a sweep is about. An object is some requests, one after the other, within one timeout."""

P = ParamSpec("P")
R = TypeVar("R")


class FileBlobs:
    """The port `SweptBlobs` under one URL. On a local disk a blob is synced before it has its name.

    Raises `InvalidConfig` for a store that fsspec does not know, or whose package is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            # Not the whole URL: a login may be in it.
            place = f"{url.partition('://')[0]}://..."
            raise InvalidConfig(
                f"BELUGA_BLOBS={place} cannot be used: {error}. A store of objects needs its fsspec package, "
                f"as s3fs for s3:// and gcsfs for gs://; see docs/operating.md"
            ) from error
        self._local = isinstance(self._files, fsspec.implementations.local.LocalFileSystem)
        self._at_once = _AT_ONCE if self._local else _OBJECTS_AT_ONCE

    async def put(self, owner: str, data: bytes) -> str:
        ref = f"{owner}/{hashlib.sha256(data).hexdigest()}"
        await self._in_thread(self._write, ref, data)
        return ref

    async def get(self, ref: str) -> bytes:
        try:
            return await self._in_thread(self._read, self._path(ref))
        except FileNotFoundError as error:
            message = f"there is no blob {ref}: was it swept, or is BELUGA_BLOBS another place?"
            raise NotFound(message, ref=ref) from error

    async def check(self) -> None:
        """Ask the store for its root, which need not be there yet: a folder must be one that can be written.

        Raises `LogUnavailable`.
        """
        await self._in_thread(self._check)

    async def older(self, before_ms: int) -> AsyncGenerator[Sequence[str], None]:
        """See the port. Goes through the store file by file: there may be more than memory could list."""
        files = self._files_of(self._root)
        while True:
            some = await self._in_thread(_some, files, self._at_once)
            if not some:
                return
            yield [path.removeprefix(f"{self._root}/") for path, new_ms in some if new_ms < before_ms]

    async def touch(self, refs: Sequence[str]) -> None:
        for paths in self._parts([ref for ref in refs if _names_a_blob(ref)]):
            await self._in_thread(self._touch, paths)

    async def delete(self, refs: Sequence[str], before_ms: int) -> int:
        return sum([await self._in_thread(self._delete, paths, before_ms) for paths in self._parts(refs)])

    def _check(self) -> None:
        if not self._local:
            self._files.exists(self._root)
            return
        place = Path(self._root)
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:  # it has no name that a sweep could find
            file.write(b"0")

    def _parts(self, refs: Sequence[str]) -> Iterator[list[str]]:
        """Their paths, as many at a time as one call is for."""
        paths = iter([self._path(ref) for ref in refs])
        while some := list(islice(paths, self._at_once)):
            yield some

    def _path(self, ref: str) -> str:
        if not _names_a_blob(ref):
            raise InvalidInput(f"{ref!r} names no blob", ref=ref)
        return f"{self._root}/{ref}"

    def _read(self, path: str) -> bytes:
        try:
            data: bytes = self._files.cat_file(path)
        except _NOT_THERE as error:
            raise FileNotFoundError(path) from error
        return data

    def _write(self, ref: str, data: bytes) -> None:
        path = self._path(ref)
        if not self._local:
            self._files.pipe_file(path, data)
            return
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                os.utime(path)
                return
            with suppress(FileNotFoundError):  # a sweep removes empty folders
                _write_synced(Path(path), data)
                return
        raise LogUnavailable(f"the blob store at {self._root} fails: {path} cannot be written")

    def _files_of(self, folder: str) -> Iterator[tuple[str, float]]:
        """Every file under the folder, and when it was new."""
        if self._local:
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        yield from self._files_of(entry.path)
                    else:
                        with suppress(FileNotFoundError):
                            yield entry.path, entry.stat().st_mtime * 1000
            return
        for path, _, files in self._files.walk(folder):
            for name in files:
                with suppress(FileNotFoundError):
                    yield f"{path}/{name}", self._files.modified(f"{path}/{name}").timestamp() * 1000

    def _touch(self, paths: Sequence[str]) -> None:
        for path in paths:
            with _if_there():
                if self._local:
                    os.utime(path)
                else:
                    self._files.pipe_file(path, self._files.cat_file(path))

    def _delete(self, paths: Sequence[str], before_ms: int) -> int:
        gone = 0
        for path in paths:
            with _if_there():
                if self._local:
                    gone += _removed(Path(path), before_ms)
                    _remove_empty(Path(path).parent, Path(self._root))
                elif self._files.modified(path).timestamp() * 1000 < before_ms:
                    self._files.rm_file(path)
                    gone += 1
        return gone

    async def _in_thread(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        try:
            async with within(_TIMEOUT_SECONDS):
                return await asyncio.to_thread(call, *arguments, **named)
        except TimeoutError as error:
            raise LogUnavailable(f"the blob store at {self._root} does not answer") from error
        except (BelugaError, FileNotFoundError):
            raise
        except Exception as error:  # stores of objects have errors of their own: botocore's are no OSError
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                raise InvalidInput(f"the blob store at {self._root} takes no name so long: {error}") from error
            raise LogUnavailable(f"the blob store at {self._root} fails: {str(error) or repr(error)}") from error


def _names_a_blob(ref: str) -> bool:
    return all(part not in ("", ".", "..") for part in ref.split("/")) and "\0" not in ref


@contextmanager
def _if_there() -> Generator[None, None, None]:
    """Pass over a file that is not there, or cannot be: its name is too long."""
    try:
        yield
    except _NOT_THERE:
        pass
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise


def _some(files: Iterator[tuple[str, float]], most: int) -> list[tuple[str, float]]:
    return list(islice(files, most))


def _write_synced(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{secrets.token_hex(6)}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(place)


def _removed(place: Path, before_ms: int) -> bool:
    """Remove the file, unless somebody who stores the same has just made it new: moved away, it cannot become so."""
    away = place.with_name(f".{secrets.token_hex(6)}")
    place.rename(away)
    if away.stat().st_mtime * 1000 >= before_ms:
        away.rename(place)
        return False
    away.unlink()
    return True


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
