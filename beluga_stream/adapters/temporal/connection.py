"""Where Temporal is and how to reach it."""

import asyncio
import ctypes
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import TLSConfig

from ...errors import InvalidConfig, TemporalUnavailable
from ...ports.cipher import Cipher
from .converter import converter

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class TemporalConnection:
    """Address (`host:port`), namespace, and how to log in. `tls` without files trusts the system's authorities.

    With `certificate` and `key` the client shows one of its own. The API key is never shown.
    """

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    task_queue: str = "beluga-workflows"
    tls: bool = False
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    api_key: str | None = field(default=None, repr=False)

    async def client(self, cipher: Cipher | None = None, *, timeout_seconds: float = CONNECT_SECONDS) -> Client:
        """A client that has been answered. Raises `TemporalUnavailable` and `InvalidConfig`."""
        tls = self._tls()
        runtime = _lasting_runtime()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await Client.connect(
                    self.address,
                    namespace=self.namespace,
                    data_converter=converter(cipher),
                    tls=tls,
                    api_key=self.api_key,
                    runtime=runtime,
                )
        except TimeoutError as error:
            raise self._unavailable(f"it does not answer within {timeout_seconds:g} s") from error
        except RuntimeError as error:  # what the SDK raises when it cannot connect
            raise self._unavailable(str(error).splitlines()[0]) from error

    def _unavailable(self, why: str) -> TemporalUnavailable:
        return TemporalUnavailable(
            f"Temporal at {self.address} is not there: {why}: start it (`temporal server start-dev`), or set "
            f"BELUGA_TEMPORAL_ADDRESS",
            address=self.address,
        )

    def _tls(self) -> TLSConfig | bool:
        if not (self.tls or self.authority or self.certificate or self.key):
            return False
        if (self.certificate is None) != (self.key is None):
            raise InvalidConfig("BELUGA_TEMPORAL_TLS_CERT and BELUGA_TEMPORAL_TLS_KEY belong together: set both")
        return TLSConfig(
            server_root_ca_cert=_read(self.authority, "BELUGA_TEMPORAL_TLS_CA"),
            client_cert=_read(self.certificate, "BELUGA_TEMPORAL_TLS_CERT"),
            client_private_key=_read(self.key, "BELUGA_TEMPORAL_TLS_KEY"),
            domain=self.server_name,
        )


@cache
def _lasting_runtime() -> Runtime:
    """The SDK's own threads, which end with the process, not when the interpreter forgets them.

    To be forgotten, they would have to end first, but one that has an answer to deliver waits for the interpreter,
    which waits for them: a process that had done its work would often hang at its exit.
    """
    runtime = Runtime.default()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(runtime))
    return runtime


def _read(path: Path | None, variable: str) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"the file of {variable}, {path}, cannot be read: {error}") from error
