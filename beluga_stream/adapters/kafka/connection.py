"""How to reach the brokers: addresses and credentials, for aiokafka and Faust alike."""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ...errors import InvalidConfig

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_LAST_PORT = 65_535
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class _NoLogins(logging.Filter):
    """Leaves out what aiokafka writes at DEBUG about logging in: with PLAIN the password is in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        values = record.args if isinstance(record.args, tuple) else ()
        return not any(type(value).__name__.startswith("SaslAuthenticate") for value in values)


_NO_LOGINS = _NoLogins()


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are and how to log in. `request_timeout` is in seconds.

    Raises `InvalidConfig` for an unknown protocol or mechanism, for half of a credential, for one that the protocol has
    no use for, and for files of certificates that cannot be used.
    The password never shows in `repr`.
    """

    bootstrap: tuple[str, ...]
    client_id: str = "beluga"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = field(default=None, repr=False)
    request_timeout: float = 30.0

    def __post_init__(self) -> None:
        if not self.bootstrap:
            raise InvalidConfig("no Kafka bootstrap server: name at least one host:port")
        for address in self.bootstrap:
            port = address.rpartition(":")[2]
            if "://" in address or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
                raise InvalidConfig(f"{address!r} is not a Kafka address: write host:port")
        if self.security_protocol not in _PROTOCOLS:
            raise InvalidConfig(f"security protocol {self.security_protocol!r} is none of {', '.join(_PROTOCOLS)}")
        if self.sasl_mechanism not in _MECHANISMS:
            raise InvalidConfig(f"SASL mechanism {self.sasl_mechanism!r} is none of {', '.join(_MECHANISMS)}")
        if self.uses_sasl and not (self.username and self.password):
            raise InvalidConfig(f"{self.security_protocol} needs a user name and a password")
        if (self.username or self.password) and not self.uses_sasl:
            raise InvalidConfig(
                f"a user name or password is given, and {self.security_protocol} logs nobody in: set "
                f"BELUGA_SECURITY_PROTOCOL to SASL_SSL, or to SASL_PLAINTEXT where nobody listens"
            )
        if (self.cafile or self.certfile or self.keyfile) and not self.uses_tls:
            raise InvalidConfig(
                f"BELUGA_TLS_... names certificates, and {self.security_protocol} encrypts nothing: set "
                f"BELUGA_SECURITY_PROTOCOL to SSL or SASL_SSL"
            )
        if self.uses_tls:
            self._ssl_context()  # what is wrong with its files is no broker that does not answer
        if self.uses_sasl:
            logging.getLogger("aiokafka.conn").addFilter(_NO_LOGINS)

    @classmethod
    def parse(cls, bootstrap: str, **settings: Any) -> Self:
        """From `host:port,host:port`."""
        return cls(tuple(part.strip() for part in bootstrap.split(",") if part.strip()), **settings)

    @property
    def where(self) -> str:
        """The addresses, for messages."""
        return ", ".join(self.bootstrap)

    @property
    def user(self) -> str:
        """Who we are to the broker, for messages."""
        return f"user {self.username!r}" if self.uses_sasl else "this process"

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    def client_settings(self, purpose: str) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client. `purpose` ends its client id."""
        settings: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": f"{self.client_id}-{purpose}",
            "request_timeout_ms": int(self.request_timeout * 1000),
            "security_protocol": self.security_protocol,
        }
        if self.uses_tls:
            settings["ssl_context"] = self._ssl_context()
        if self.uses_sasl:
            settings |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return settings

    def faust_settings(self) -> Mapping[str, Any]:
        """Keyword arguments for `faust.App`. Imports Faust."""
        import faust  # noqa: PLC0415 - a second, which clients do not need to pay

        settings: dict[str, Any] = {
            "broker": ";".join(f"kafka://{address}" for address in self.bootstrap),
            "broker_client_id": self.client_id,
            "broker_request_timeout": self.request_timeout,
            # Faust's 60 s, above the request timeout, is refused; and it would delay every takeover.
            "broker_session_timeout": min(10.0, self.request_timeout),
            "broker_heartbeat_interval": min(3.0, self.request_timeout / 3.3),
            "producer_request_timeout": self.request_timeout,
            # Who adds partitions to a topic, or creates it anew, wants to see it read soon: the default is 5 minutes.
            "consumer_metadata_max_age_ms": 30_000,
        }
        if self.uses_sasl:
            # Without ssl_context Faust speaks SASL_PLAINTEXT, whatever the protocol says.
            settings["broker_credentials"] = faust.SASLCredentials(
                username=self.username,
                password=self.password,
                mechanism=self.sasl_mechanism,
                ssl_context=self._ssl_context() if self.uses_tls else None,
            )
        elif self.uses_tls:
            settings["broker_credentials"] = faust.SSLCredentials(context=self._ssl_context())
        return settings

    def _ssl_context(self) -> ssl.SSLContext:
        """Made of the files as they are now. Raises `InvalidConfig` when they cannot be used."""
        if self.keyfile and not self.certfile:
            raise InvalidConfig("BELUGA_TLS_KEY is the key of a certificate: set BELUGA_TLS_CERT as well")
        used = f"BELUGA_TLS_CA={self.cafile}"
        try:
            context = ssl.create_default_context(cafile=self.cafile)
            if self.certfile:
                used = f"BELUGA_TLS_CERT={self.certfile} with BELUGA_TLS_KEY={self.keyfile or self.certfile}"
                context.load_cert_chain(self.certfile, self.keyfile, password=_no_password)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise InvalidConfig(f"{used} cannot be used for TLS: {why}; see docs/security.md") from error
        return context


def _no_password() -> str:
    """Without this OpenSSL asks whoever sits at the terminal, and waits."""
    raise ValueError("the key is encrypted, and there is no setting for its password")
