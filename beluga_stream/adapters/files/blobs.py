"""Blobs as files, through fsspec: a local folder by default, any object store by its URL."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import fsspec

from ...errors import InvalidInput, LogUnavailable, NotFound

_TIMEOUT_SECONDS = 60.0

P = ParamSpec("P")
R = TypeVar("R")


class FileBlobs:
    """The port `Blobs` under one URL. On a local disk a blob is synced before it has its name."""

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url, auto_mkdir=True)
        self._local = isinstance(self._files, fsspec.implementations.local.LocalFileSystem)

    async def put(self, owner: str, data: bytes) -> str:
        ref = f"{owner}/{hashlib.sha256(data).hexdigest()}"
        await self._in_thread(self._write, ref, data)
        return ref

    async def get(self, ref: str) -> bytes:
        try:
            data: bytes = await self._in_thread(self._files.cat_file, self._path(ref))
        except FileNotFoundError as error:
            message = f"there is no blob {ref}: was it swept, or is BELUGA_BLOBS another place?"
            raise NotFound(message, ref=ref) from error
        return data

    async def delete_owner(self, owner: str) -> None:
        await self._in_thread(self._remove, self._path(owner))

    def _path(self, ref: str) -> str:
        if ref.startswith("/") or any(part in ("", ".", "..") for part in ref.split("/")) or "\0" in ref:
            raise InvalidInput(f"{ref!r} names no blob", ref=ref)
        return f"{self._root}/{ref}"

    def _write(self, ref: str, data: bytes) -> None:
        path = self._path(ref)
        if self._files.exists(path):
            return
        if not self._local:
            self._files.pipe_file(path, data)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{secrets.token_hex(6)}")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(place)

    def _remove(self, path: str) -> None:
        if self._files.exists(path):
            self._files.rm(path, recursive=True)

    async def _in_thread(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await asyncio.to_thread(call, *arguments, **named)
        except TimeoutError as error:
            raise LogUnavailable(f"the blob store at {self._root} does not answer") from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LogUnavailable(f"the blob store at {self._root} fails: {error}") from error
