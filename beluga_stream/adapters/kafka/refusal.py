"""What a broker refuses, as errors that say what to mend: a login, a certificate, a right, or just no answer."""

import asyncio
import ssl
from typing import Any, cast

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from ...bounds import within
from ...errors import AccessDenied, BelugaError, LogUnavailable
from .connection import KafkaConnection

_RIGHTS = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "consumer group",
    TransactionalIdAuthorizationFailed: "transactional id",
    ClusterAuthorizationFailedError: "cluster",
}
_LOGINS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_PROBE_SECONDS = 5.0
_SEE = "see docs/security.md"


def refusal(connection: KafkaConnection, what: str, error: BaseException, needs: str = "") -> BelugaError:
    """`AccessDenied` when a right is missing, else `LogUnavailable`. `what` begins the message.

    `needs` names the right that this would have taken, for refusals that do not name it themselves.
    """
    kind = next((name for refused, name in _RIGHTS.items() if isinstance(error, refused)), None)
    if kind is None:
        return LogUnavailable(f"{what}: {error!r}")
    named = ", ".join(sorted(_names(error)))
    lacking = needs or f"a right on {kind} {named}".rstrip()
    return AccessDenied(f"{what}: Kafka does not grant {connection.user} {lacking}: {_SEE}", user=connection.username)


def no_answer(connection: KafkaConnection, error: BaseException) -> LogUnavailable:
    """Nobody answers. What aiokafka has to say of it is the address once more."""
    why = "" if isinstance(error, KafkaConnectionError | TimeoutError) else f": {error!r}"
    return LogUnavailable(f"no Kafka broker answers at {connection.where}{why}")


async def why_unreachable(connection: KafkaConnection) -> BelugaError | None:
    """Connect once by hand: `AccessDenied` when it is the login, the certificate or TLS; None when nobody answers.

    aiokafka logs what a broker says at the first contact, and raises no more than that there was none.
    """
    settings = _probing(connection)
    for address in connection.bootstrap:
        host, _, port = address.rpartition(":")
        try:
            async with within(_PROBE_SECONDS):
                probe = await create_conn(host, int(port), **settings)
            probe.close()
        except _LOGINS as error:
            return AccessDenied(
                f"Kafka at {address} does not let {connection.user} in ({_said(error)}): check "
                f"BELUGA_SASL_USERNAME, BELUGA_SASL_PASSWORD and BELUGA_SASL_MECHANISM; {_SEE}",
                user=connection.username,
            )
        except ssl.SSLError as error:
            return AccessDenied(
                f"no TLS connection to Kafka at {address} ({error.reason or error}): check BELUGA_TLS_CA, "
                f"BELUGA_TLS_CERT and BELUGA_SECURITY_PROTOCOL; {_SEE}",
            )
        except (TimeoutError, ConnectionRefusedError):
            continue  # there is nobody to ask in another way
        except Exception:  # noqa: BLE001 - whatever else it is, aiokafka has met it too and says so
            if await _speaks_otherwise(connection, host, int(port)):
                return _mismatch(connection, address)
    return None


def _probing(connection: KafkaConnection) -> dict[str, Any]:
    settings = connection.client_settings("probe")
    del settings["bootstrap_servers"]
    return settings


async def _speaks_otherwise(connection: KafkaConnection, host: str, port: int) -> bool:
    """Whether somebody there does without TLS where we use it, or the reverse. Nothing is sent that need be secret."""
    try:
        async with within(_PROBE_SECONDS):
            if connection.uses_tls:
                settings = _probing(connection) | {"security_protocol": "PLAINTEXT"}
                probe = await create_conn(host, port, **settings)
                probe.close()
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever it is
                _, writer = await asyncio.open_connection(host, port, ssl=context)
                writer.transport.abort()
    except Exception:  # noqa: BLE001 - whatever it is, that is no answer
        return False
    return True


def _mismatch(connection: KafkaConnection, address: str) -> AccessDenied:
    """Who speaks TLS to who does not gets no answer, or none that they understand."""
    protocol = connection.security_protocol
    if connection.uses_tls:
        told, other = "speaks no TLS", protocol.replace("SSL", "PLAINTEXT")
        hint = f"give the address of a listener that does, or set it to {other}"
    else:
        told, hint = "speaks TLS", f"set it to {protocol.replace('PLAINTEXT', 'SSL')}"
    return AccessDenied(
        f"Kafka at {address} {told}, and BELUGA_SECURITY_PROTOCOL is {protocol}: {hint}; {_SEE}",
        user=connection.username,
    )


def _names(error: BaseException) -> set[str]:
    names: set[str] = set()
    for argument in error.args:
        names |= cast("set[str]", set(argument)) if isinstance(argument, set | frozenset) else {str(argument)}
    return names


def _said(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
