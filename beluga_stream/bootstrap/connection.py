"""Settings as a Kafka connection and as topic names."""

from ..adapters.kafka.connection import KafkaConnection
from ..application.topics import Topics
from ..errors import AccessDenied, InvalidConfig, TopicMismatch, TopicMissing
from ..ports.log import Reader
from .settings import Settings


def is_gateway(address: str) -> bool:
    """Whether it is the address of a gateway, and not of a broker."""
    return address.startswith(("http://", "https://"))


def kafka(settings: Settings) -> KafkaConnection:
    """How this process reaches the brokers. Raises `InvalidConfig`."""
    if is_gateway(settings.broker):
        raise InvalidConfig(
            f"{settings.broker} is the address of a gateway, and this needs the broker itself: "
            f"give Kafka's bootstrap servers, host:port"
        )
    password = settings.sasl_password
    return KafkaConnection.parse(
        settings.broker,
        client_id=settings.prefix,
        security_protocol=settings.security_protocol,
        sasl_mechanism=settings.sasl_mechanism,
        username=settings.sasl_username,
        password=None if password is None else password.get_secret_value(),
        cafile=None if settings.tls_ca is None else str(settings.tls_ca),
        certfile=None if settings.tls_cert is None else str(settings.tls_cert),
        keyfile=None if settings.tls_key is None else str(settings.tls_key),
    )


def topics(settings: Settings) -> Topics:
    """The engine's topic names."""
    return Topics(settings.prefix, settings.partitions)


async def check_partitions(names: Topics, reader: Reader) -> None:
    """Raises `TopicMismatch` when the engine has another number of partitions than these settings say.

    Else a run would be sent to one partition and looked for in another. Of topics that do not exist yet, or that we may
    not see, nothing is said here.
    """
    try:
        count = await reader.partitions(names.run_results)
    except (AccessDenied, TopicMissing):
        return
    if count != names.partitions:
        raise TopicMismatch(
            f"the engine has {count} partitions ({names.run_results}), and BELUGA_PARTITIONS is "
            f"{names.partitions} here: set it to {count} for whoever starts or looks for runs",
            topic=names.run_results,
            actual=count,
            declared=names.partitions,
        )
