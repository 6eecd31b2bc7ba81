"""Where Temporal is and how to reach it."""

from dataclasses import dataclass, field
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from ...bounds import within
from ...errors import InvalidConfig, TemporalUnavailable
from ...ports.cipher import Cipher
from ...ports.spans import NO_SPANS, Spans
from .calls import told
from .converter import converter
from .core import runtime
from .propagation import Starting

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

    async def client(
        self, cipher: Cipher | None = None, *, spans: Spans = NO_SPANS, timeout_seconds: float = CONNECT_SECONDS
    ) -> Client:
        """A client whose namespace is there. Workflow classes that it starts are in the trace that `spans` have here.

        Raises `TemporalUnavailable`, `AccessDenied` and `InvalidConfig`.
        """
        tls = self._tls()
        try:
            async with within(timeout_seconds):
                client = await Client.connect(
                    self.address,
                    namespace=self.namespace,
                    data_converter=converter(cipher),
                    tls=tls,
                    api_key=self.api_key,
                    interceptors=[Starting(spans)] if spans.on else [],
                    runtime=runtime(),
                )
                await self._check_namespace(client)
                return client
        except TimeoutError as error:
            raise self._unavailable(f"it does not answer within {timeout_seconds:g} s") from error
        except RuntimeError as error:  # what the SDK raises when it cannot connect
            raise self._unavailable(str(error).splitlines()[0]) from error

    async def _check_namespace(self, client: Client) -> None:
        """The server answers for namespaces that it does not have, until something is asked of them."""
        try:
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=self.namespace))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise TemporalUnavailable(
                    f"Temporal at {self.address} has no namespace {self.namespace!r}: set BELUGA_TEMPORAL_NAMESPACE, "
                    f"or create it (`temporal operator namespace create {self.namespace}`)",
                    address=self.address,
                ) from error
            raise told(error, "look for namespace", self.namespace) from error

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


def _read(path: Path | None, variable: str) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"the file of {variable}, {path}, cannot be read: {error}") from error
