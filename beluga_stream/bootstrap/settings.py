"""Every setting, with its unit and default. Read from the environment with the prefix `BELUGA_`.

docs/configuration.md is generated from this file.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..domain.misspelt import advice
from ..errors import InvalidConfig

RoleName = Literal["coordinator", "worker", "ingest", "workflows"]
ExporterName = Literal["otlp", "prometheus"]

_HOST = r"(\[[0-9A-Fa-f:]+\]|[^:\s]+)"
_ADDRESS = rf"^{_HOST}:\d{{1,5}}$"
_PLACE = rf"^({_HOST}:)?\d{{1,5}}$"
_NAME = r"^[A-Za-z0-9._-]{1,60}$"
_FORMS = {
    _ADDRESS: "write it as host:port",
    _PLACE: "write it as port or host:port",
    _NAME: "it may have letters, digits, '.', '_' and '-', at most 60",
}
"""What is meant by a pattern, in words: for the message about a value that is something else."""


class Settings(BaseSettings):
    """One process's settings. Make it with `Settings.load()`, which reports a wrong value in one line."""

    model_config = SettingsConfigDict(env_prefix="BELUGA_", extra="ignore", frozen=True, allow_inf_nan=False)

    broker: str = Field(
        "127.0.0.1:9092",
        description="Kafka bootstrap servers, `host:port`, comma-separated; for clients and the commands on runs also "
        "the http:// address of a gateway.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to Kafka."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to log in, when the protocol is SASL."
    )
    sasl_username: str | None = Field(None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(None, description="Password for SASL; never shown.")
    tls_ca: Path | None = Field(None, description="CA certificates (PEM) to trust; by default the system's.")
    tls_cert: Path | None = Field(None, description="Client certificate (PEM) for mutual TLS.")
    tls_key: Path | None = Field(None, description="Key (PEM) of the client certificate.")
    broker_patience_seconds: float = Field(
        300.0,
        ge=1,
        le=3600,
        description="How long a process waits for a broker that does not answer, at its start and later, "
        "before it ends (seconds).",
    )

    role: Annotated[tuple[RoleName, ...], NoDecode] = Field(
        ("coordinator", "worker", "ingest"),
        description="What this process does: some of coordinator, worker, ingest, workflows, comma-separated. The last "
        "is among the default where BELUGA_TEMPORAL_ADDRESS is set.",
    )
    instance: str | None = Field(
        None,
        description="A name of this process that survives restarts (static group membership): "
        "a restart within the session timeout then causes no rebalance.",
    )
    agents: str = Field(
        "agents", description="Where the graphs are: a folder, or a dotted package name. The default is a folder only."
    )
    topics: Path = Field(
        Path("topics"),
        description="The folder with declarations of user topics (YAML). The default may be missing, another may not.",
    )

    prefix: str = Field(
        "beluga",
        pattern=_NAME,
        description="First part of the names of the engine's topics and consumer groups.",
    )
    partitions: int = Field(
        4,
        ge=1,
        le=512,
        description="Partitions of every topic that is keyed by run, fixed once created, and the same for clients, "
        "which are refused with another number; and of your topics where their declaration names none.",
    )
    replication: int = Field(
        1,
        ge=1,
        le=9,
        description="Replicas of the engine's topics, and of yours where their declaration names none. From 2 on, two "
        "must have a record of the engine before it counts as written (min.insync.replicas); 3 is for production.",
    )
    retention_hours: float = Field(168, gt=0, description="How long the engine's topics keep records (hours).")
    runs_retention_hours: float | None = Field(
        None,
        gt=0,
        description="For how long the summary of a run is kept after its last change, with its result if that is small "
        "(hours). Unset: for ever. After that the run is in no list, and can be neither shown nor retried.",
    )

    store: Literal["memory", "rocksdb"] = Field(
        "memory", description="Where a coordinator keeps the table of its partitions."
    )
    data: Path = Field(
        Path(".beluga/data"),
        description="Folder for RocksDB, of which each process takes a part of its own; "
        "wiped whenever a partition is taken over.",
    )
    blobs: str = Field(
        ".beluga/blobs",
        description="Where values above 64 KiB go: a folder or an fsspec URL, the same for all processes, and for no "
        "other engine: what no run of this one names is swept.",
    )
    sweep_hours: float = Field(
        24,
        gt=0,
        description="How often values above 64 KiB that nobody can want any more are removed (hours): those that no "
        "run has named for BELUGA_RETENTION_HOURS and twice this.",
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="Keys that users' values are encrypted with, `id:base64` pairs, comma-separated, the first one "
        "active; better in a file. Never shown.",
    )
    encryption_key_file: Path | None = Field(
        None, description="The file with those keys, one on a line (`beluga keys new` makes one)."
    )
    dedup_window_hours: float = Field(
        24,
        gt=0,
        description="How long a finished run is remembered, so that a repeated start is recognised (hours), unless "
        "BELUGA_DEDUP_MOST forgets it before.",
    )
    dedup_most: int = Field(
        25_000,
        ge=0,
        description="Most finished runs remembered in each partition, pages of maps and child runs among them; the "
        "oldest go first, also within the window. See docs/guarantees.md for how many it takes.",
    )

    triggers_begin: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where ingest begins with a topic that it has not read before: `earliest` starts runs for the "
        "events that the topic still holds, `latest` for those that come from now on. See docs/triggers.md.",
    )
    capacity: int = Field(
        100_000,
        ge=1,
        description="Most runs that go on at once in a coordinator; at it, starts wait in their topic, all else flows.",
    )
    queues: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="The queues this worker serves, comma-separated; by default all of the deployed graphs. Workers "
        "with different lists share the queues that both have.",
    )
    worker_slots: int = Field(256, ge=1, le=100_000, description="Most handlers that run at once in a worker.")
    worker_threads: int = Field(16, ge=1, le=1_000, description="Threads for handlers that are not async.")
    worker_processes: int = Field(
        2,
        ge=1,
        le=256,
        description="Processes for handlers with executor='process', each started when it is needed.",
    )
    lease_after_seconds: float = Field(
        2.0,
        gt=0,
        description="A node that runs longer than this is held by a lease instead of its partition (seconds).",
    )
    fuse_milliseconds: int = Field(
        0,
        ge=0,
        le=10_000,
        description="For how long a worker may go on with the next nodes of a line before it reports them all, as one "
        "record (milliseconds). 0, the default: each node goes through the log.",
    )
    heartbeat_seconds: float = Field(
        2.5, gt=0, description="How often a worker renews its leases (seconds); at most half of a lease."
    )
    lease_seconds: float = Field(
        10.0,
        gt=0,
        description="A lease that was not renewed for this long is lost: the node runs again (seconds).",
    )
    stuck_after_seconds: float = Field(
        60.0,
        ge=0,
        description="A run that waits for so much longer than it should is counted and logged as stuck (seconds).",
    )
    redispatch_seconds: float = Field(
        300.0,
        gt=0,
        description="When a node has waited for a worker for this long (seconds), the coordinator checks whether any "
        "worker can still have it, and dispatches it again if none can. When a run has waited for a child run for this "
        "long, the coordinator asks the child how it stands.",
    )
    look_after_seconds: float = Field(
        30.0,
        gt=0,
        description="When a durable run has not ended after this long (seconds), the engine asks Temporal whether it "
        "is still there, and then again and again: the older the run, the more seldom, but at least every ten minutes.",
    )
    shutdown_grace_seconds: float = Field(
        10.0, ge=0, description="How long a worker that is told to stop lets running nodes finish (seconds)."
    )
    session_timeout_seconds: float = Field(
        10.0,
        ge=6,
        le=300,
        description="A process that is silent for this long loses its partitions (seconds).",
    )

    http_address: str = Field(
        "127.0.0.1:8080",
        pattern=_ADDRESS,
        description="Where `beluga serve` listens, `host:port`. Elsewhere than on the loopback it wants tokens.",
    )
    http_token: SecretStr | None = Field(
        None, description="The bearer token that a client of a gateway shows, `connect('https://...')`. Never shown."
    )
    http_tokens: SecretStr | None = Field(
        None,
        description="Bearer tokens of the gateway, `name:scope+scope:hash` each, comma-separated; better in a file. "
        "Never shown.",
    )
    http_token_file: Path | None = Field(
        None, description="The file with those tokens, one on a line (`beluga tokens new` makes one)."
    )
    http_stream_secret: SecretStr | None = Field(
        None,
        description="What stream tokens are signed with, at least 32 letters, the same for all gateways; by default a "
        "random one, which a restart forgets. Never shown.",
    )
    http_stream_token_seconds: float = Field(
        900.0, gt=0, le=86_400, description="How long a stream token opens its run's stream (seconds)."
    )
    http_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of web pages that may use the gateway (CORS), `https://host`, comma-separated; `*`: all.",
    )
    http_body_bytes: int = Field(4 * 1024 * 1024, ge=1_024, description="Largest body of a request (bytes).")
    http_requests_per_second: float = Field(
        100.0, gt=0, description="Requests that one caller (a token, or an address without) may make in a second."
    )
    http_streams_per_caller: int = Field(1_000, ge=1, description="Streams that one caller may have open.")
    http_streams: int = Field(10_000, ge=1, description="Streams that a gateway serves at once.")
    http_broker_seconds: float = Field(
        15.0,
        ge=1,
        le=300,
        description="How long a broker may leave the gateway without an answer, before it tells its caller so by 503 "
        "(seconds).",
    )
    http_heartbeat_seconds: float = Field(
        15.0, gt=0, description="How long a stream is silent before it says that it is still there (seconds)."
    )
    http_stall_seconds: float = Field(
        60.0, ge=1, description="A reader of a stream that takes nothing for this long is cut off (seconds)."
    )

    temporal_address: str = Field(
        "127.0.0.1:7233",
        pattern=_ADDRESS,
        description="Temporal's frontend, `host:port`: where durable graphs and workflows run. Where it is not set, an "
        "engine refuses durable graphs.",
    )
    temporal_namespace: str = Field("default", min_length=1, description="The namespace of Temporal.")
    temporal_task_queue: str = Field(
        "beluga-workflows",
        min_length=1,
        max_length=255,
        description="The task queue of durable graphs. Nodes of another queue than `default` have one of their own, "
        "`name.queue`; runs of an engine have theirs at `name:told`.",
    )
    temporal_tls: bool = Field(
        default=False, description="Talk to Temporal by TLS; any of these files means that, too."
    )
    temporal_tls_ca: Path | None = Field(
        None, description="CA certificates (PEM) to trust with Temporal; by default the system's."
    )
    temporal_tls_cert: Path | None = Field(None, description="Client certificate (PEM) for mutual TLS with Temporal.")
    temporal_tls_key: Path | None = Field(None, description="Key (PEM) of that certificate.")
    temporal_tls_server_name: str | None = Field(
        None, description="The name that Temporal's certificate is for, when it is not that of the address."
    )
    temporal_api_key: SecretStr | None = Field(None, description="API key for Temporal Cloud; wants TLS. Never shown.")
    dbos_database: Path = Field(
        Path(".beluga/dbos.sqlite"),
        description="The SQLite file of the provider `dbos`, for one process at a time: what its workflows have done.",
    )

    telemetry: Annotated[tuple[ExporterName, ...], NoDecode] = Field(
        (),
        description="Where traces and metrics go, comma-separated: `otlp` sends both as the variables "
        "OTEL_EXPORTER_OTLP_... say, `prometheus` shows metrics at BELUGA_PROBE_ADDRESS. By default nowhere.",
    )
    probe_address: str | None = Field(
        None,
        pattern=_PLACE,
        description="Where a process answers `/live`, `/ready`, `/health` and, with `prometheus`, `/metrics`: `port` "
        "on 127.0.0.1, or `host:port`; port 0 is any free one. By default nowhere.",
    )

    log_format: Literal["text", "json"] = Field("text", description="How log lines look.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least level that is logged."
    )

    @field_validator("role", "queues", "http_origins", "telemetry", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("broker")
    @classmethod
    def _no_login(cls, value: str) -> str:
        if "@" in value:  # an address is told in errors and on screens
            raise ValueError(
                "an address has no user name and no password in it: for Kafka set BELUGA_SASL_USERNAME and "
                "BELUGA_SASL_PASSWORD, for a gateway BELUGA_HTTP_TOKEN"
            )
        return value

    @field_validator("role")
    @classmethod
    def _some_role(cls, value: tuple[RoleName, ...]) -> tuple[RoleName, ...]:
        if not value:
            raise ValueError("name at least one of coordinator, worker, ingest, workflows")
        return tuple(dict.fromkeys(value))

    @property
    def roles(self) -> tuple[RoleName, ...]:
        """What this process does."""
        chosen = "role" in self.model_fields_set
        return (*self.role, "workflows") if not chosen and self.has_temporal else self.role

    @property
    def has_temporal(self) -> bool:
        """Whether durable graphs can run: somebody has said where Temporal is."""
        return "temporal_address" in self.model_fields_set or "workflows" in self.role

    @field_validator("queues")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """None as well when none is named."""
        return tuple(dict.fromkeys(value or ())) or None

    @field_validator("lease_seconds")
    @classmethod
    def _two_beats(cls, value: float, info: ValidationInfo) -> float:
        beat = info.data.get("heartbeat_seconds", 0.0)
        if value < 2 * beat:
            raise ValueError(f"it must be at least twice BELUGA_HEARTBEAT_SECONDS, which is {beat:g}")
        return value

    @classmethod
    def load(cls, **given: object) -> "Settings":
        """The environment's settings, `given` ones first. Raises `InvalidConfig` in one clear line."""
        for name in given:
            if name not in cls.model_fields:
                raise InvalidConfig(f"{name}= is no setting: {advice(name, cls.model_fields, _WHERE)}")
        try:
            return cls(**given)  # type: ignore[arg-type]  # pydantic checks them
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "BELUGA_" + str(first["loc"][0]).upper() if first["loc"] else "the settings"
            said = _FORMS.get(str(first.get("ctx", {}).get("pattern"))) or first["msg"].removeprefix("Value error, ")
            got = "" if name in _SECRETS else f" (got {first['input']!r})"
            raise InvalidConfig(f"{name} is wrong: {said}{got}: {_WHERE}") from error


_WHERE = "see docs/configuration.md"

_SECRETS = frozenset(
    f"BELUGA_{name.upper()}" for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
) | {"BELUGA_BROKER"}
"""What is never quoted when it is wrong: an address may have a password in it, where none belongs."""
