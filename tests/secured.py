"""An Apache Kafka that asks who is there: SCRAM over TLS on one listener, and an authorizer that denies by default.

Its plain listener is the administrator's, who makes users and gives them rights.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.ports.rights import Right
from tests.brokers import HOST, BrokerUnavailable, JarKafka, KafkaContainer, free_port
from tests.certificates import Authority

_ITERATIONS = 4096
_SCRAM_SHA_512 = 2
_APPLIED_SECONDS = 20.0


@dataclass
class SecureListener:
    """The listener that users come by. Its certificate is signed by a CA made for it; clients trust only that."""

    folder: Path

    def __post_init__(self) -> None:
        self.port = free_port()
        self.address = f"{HOST}:{self.port}"
        authority = Authority(self.folder / "ca.pem")
        self.ca = authority.file
        signed = authority.signs("beluga test broker")
        self._certificate, self._key = _one_line(signed.certificate), _one_line(signed.key)

    def added_to(self, settings: dict[str, str], host: str) -> dict[str, str]:
        door = "listener.name.guarded"
        # A PEM in one line is a property's value; Kafka reads one certificate of such a line, and clients have the CA.
        own = {
            f"{door}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"{door}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            f"{door}.ssl.keystore.type": "PEM",
            f"{door}.ssl.keystore.certificate.chain": self._certificate,
            f"{door}.ssl.keystore.key": self._key,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        }
        return {
            **settings,
            **own,
            "listeners": f"{settings['listeners']},GUARDED://{host}:{self.port}",
            "advertised.listeners": f"{settings['advertised.listeners']},GUARDED://{self.address}",
            "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},GUARDED:SASL_SSL",
        }


@dataclass(frozen=True)
class SecuredBroker:
    """The broker, and what its administrator can do. `admin` is the address of the plain listener."""

    admin: str
    listener: SecureListener
    title: str

    async def add_user(self, name: str, rights: Sequence[Right]) -> Mapping[str, str]:
        """Make a user with these rights and no others; return its settings, without the prefix of variables."""
        password = f"pw-{secrets.token_hex(12)}"
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
        client = AIOKafkaClient(bootstrap_servers=self.admin)
        await client.bootstrap()
        try:
            node = client.get_random_node()
            if rights:
                granted: Any = await client.send(node, _Once(_CreateAcls(_acls(name, rights))))
                assert {error for error, _ in granted.results} == {0}, granted
            made: Any = await client.send(
                node, _Once(_AlterUsers([], [(name, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})], {}))
            )
            assert [error for _, error, *_ in made.results] == [0], made
        finally:
            await client.close()
        settings = {
            "broker": self.listener.address,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": name,
            "sasl_password": password,
            "tls_ca": str(self.listener.ca),
        }
        await _applied(settings)
        return settings


async def _applied(settings: Mapping[str, str]) -> None:
    """Wait until the user can log in: what was granted before that holds by then, too, as it is applied in order."""
    given = kafka(Settings.load(**settings)).client_settings("applied")
    [address] = given.pop("bootstrap_servers")
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_APPLIED_SECONDS):
        while True:
            connection = AIOKafkaConnection(host, int(port), **given)
            try:
                await connection.connect()
            except KafkaError:
                knows = False
            else:
                knows = True
            # TLS takes leave of the broker: the loop may end right after this, and would leave the socket open.
            await connection.close()
            if knows:
                return
            await asyncio.sleep(0.05)


def start_secured(folder: Path) -> tuple[SecuredBroker, "KafkaContainer | JarKafka"]:
    """By BELUGA_TEST_BROKER: in Docker or from the jars, else the first of them that works.

    Raises `BrokerUnavailable`.
    """
    asked = os.environ.get("BELUGA_TEST_BROKER", "")
    kinds = {"docker": (KafkaContainer,), "jars": (JarKafka,), "": (KafkaContainer, JarKafka)}.get(asked, ())
    reasons = [] if kinds else [f"{asked} has no listener that asks who is there"]
    for kind in kinds:
        listener = SecureListener(folder)
        broker = kind(door=listener, brief=True)
        try:
            broker.start()
        except BrokerUnavailable as reason:
            reasons.append(str(reason))
            continue
        return SecuredBroker(broker.address, listener, broker.title), broker
    raise BrokerUnavailable("; ".join(reasons))


def _one_line(pem: bytes) -> str:
    return " ".join(pem.decode().split("\n")).strip()


# ------------------------------------------------------------------------ requests that aiokafka does not know
_RESOURCES = {"topic": 2, "group": 3, "transactional-id": 5}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10}
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3


def _acls(user: str, rights: Sequence[Right]) -> list[tuple[object, ...]]:
    return [
        (
            _RESOURCES[right.resource],
            right.name,
            _PREFIXED if right.prefixed else _LITERAL,
            f"User:{user}",
            "*",
            _OPERATIONS[operation],
            _ALLOW,
        )
        for right in rights
        for operation in right.operations
    ]


class _AlterUsersResponse(Response):
    API_KEY, API_VERSION = 51, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterUsers(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE, FLEXIBLE_VERSION = 51, 0, _AlterUsersResponse, True
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _CreateAclsResponse(Response):
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("message", String("utf-8")))),
    )


class _CreateAcls(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 30, 1, _CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource", Int8),
                ("name", String("utf-8")),
                ("pattern", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        ),
    )


class _Once(Request[Any]):
    """One struct of one version, as aiokafka sends it."""

    API_KEY = -1

    def __init__(self, struct: RequestStruct) -> None:
        self._struct = struct

    def build(self, request_struct_class: type[Any]) -> RequestStruct:
        return self._struct

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> RequestStruct:
        return self._struct
