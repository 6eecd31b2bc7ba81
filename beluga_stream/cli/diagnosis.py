"""What a deployment needs, checked one thing at a time; what is wrong comes with its fix."""

import platform
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict

from rich.text import Text

from ..adapters.files.blobs import FileBlobs
from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.fence import broker_fences
from ..adapters.kafka.rights import hidden
from ..bootstrap import deployment
from ..bootstrap.conformity import COMPARED, alike, conformity, mending, unsafe
from ..bootstrap.connection import kafka, topics
from ..bootstrap.encryption import cipher_of
from ..bootstrap.environment import unknown
from ..bootstrap.settings import Settings
from ..bootstrap.temporal import temporal
from ..bootstrap.versions import version_of
from ..errors import AccessDenied, BelugaError, InvalidConfig, InvalidState, LogUnavailable
from ..ports.log import Outgoing, TopicSpec
from .aside import aside
from .attendance import attendance
from .declared import PATIENCE_SECONDS, Needed, topics_of
from .finding import Finding
from .screen import BAD, OK, WARN, console, counted, print_json
from .values import settings_with

_PACKAGES = ("beluga-stream", "faust-streaming", "aiokafka", "pydantic")


async def diagnose(*, broker: str | None, as_json: bool) -> None:
    """Check everything. Raises `InvalidState` in the end when something is wrong."""
    findings: list[Finding] = []
    async for finding in _findings(broker):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    wrong = [finding.check for finding in findings if finding.ok is False]
    if wrong:
        raise InvalidState(f"{len(wrong)} of {len(findings)} checks failed: {', '.join(wrong)}")


async def _findings(broker: str | None) -> AsyncIterator[Finding]:
    installed = ", ".join(f"{name} {version_of(name)}" for name in _PACKAGES)
    yield Finding("versions", ok=True, said=f"Python {platform.python_version()}, {installed}")
    try:
        settings = settings_with(broker=broker)
        connection = kafka(settings)
    except BelugaError as error:
        yield Finding("settings", ok=False, said=str(error), fix="mend the variable: see docs/configuration.md")
        return
    for variable in unknown():
        fix = "mend its name, or remove it: docs/configuration.md lists all settings"
        yield Finding("variables", ok=None, said=f"{variable} is no setting, and is ignored", fix=fix)
    yield await _values(settings)
    yield await _deployment(settings)
    finding = await _temporal(settings)
    if finding is not None:
        yield finding
    try:
        needed = await topics_of(settings)
    except BelugaError as error:
        yield Finding("declared topics", ok=False, said=str(error), fix="mend the file")
        needed = Needed([], [], [])
    try:
        async with KafkaTopics(connection, patience=PATIENCE_SECONDS) as admin:
            number = len(await admin.describe())
            yield Finding("broker", ok=True, said=f"{connection.where} answers; it has {counted(number, 'topic')}")
            found = await admin.inspect([spec.name for spec in needed.beside({})], COMPARED)
            specs = needed.beside(found)
            unseen = await hidden(connection, [spec.name for spec in specs if spec.name not in found])
            if unseen:
                said = f"{len(unseen)} of {len(specs)} cannot be seen by {connection.user}: not checked"
                yield Finding("rights", ok=None, said=said, fix="run this as an operator: `beluga acls operator`")
            seen = [spec for spec in specs if spec.name not in unseen]
            for finding in (*_topics(seen, found), *_kept(connection, needed, seen, found), *_counts(settings, found)):
                yield finding
            for finding in await attendance(settings, connection):
                yield finding
            yield await _fencing(settings, connection, admin)
    except AccessDenied as error:
        yield Finding("broker", ok=False, said=str(error), fix="mend the login or the rights")
    except BelugaError as error:
        fix = "start it, or set BELUGA_BROKER; `beluga dev` brings one"
        yield Finding("broker", ok=False, said=str(error), fix=fix)


async def _values(settings: Settings) -> Finding:
    """Where large values lie, and the keys and tokens that processes begin with."""
    try:
        blobs = FileBlobs(settings.blobs)
        cipher_of(settings)
        if settings.http_tokens or settings.http_token_file or settings.http_stream_secret:
            from ..bootstrap.gateway import tokens_of  # noqa: PLC0415 - its packages are an optional extra

            tokens_of(settings)
        await blobs.check()
    except InvalidConfig as error:
        return Finding("settings", ok=False, said=str(error), fix="mend the variable: see docs/configuration.md")
    except LogUnavailable as error:
        fix = "mend it, or set BELUGA_BLOBS: docs/operating.md says what the processes need of it"
        return Finding("large values", ok=False, said=str(error), fix=fix)
    return Finding("large values", ok=True, said="the blob store answers")


async def _deployment(settings: Settings) -> Finding:
    try:
        loaded = await aside(deployment.load_of, settings)
    except BelugaError as error:
        return Finding("deployment", ok=False, said=str(error), fix="mend the file, or set BELUGA_AGENTS")
    names = ", ".join(sorted(loaded.works)) or "no graphs"
    return Finding(
        "deployment", ok=True, said=f"{settings.agents}: {names}; {counted(len(loaded.triggers), 'trigger')}"
    )


async def _temporal(settings: Settings) -> Finding | None:
    """Nothing, where nobody has set it up and no graph needs it."""
    if not settings.has_temporal:
        return await _without_temporal(settings)
    try:
        client = await temporal(settings).client(timeout_seconds=PATIENCE_SECONDS)
        from ..adapters.temporal.calls import check_health  # noqa: PLC0415 - its package is an optional extra

        await check_health(client)
    except BelugaError as error:
        fix = "start it, or set BELUGA_TEMPORAL_ADDRESS; `beluga dev --temporal` brings one"
        return Finding("temporal", ok=False, said=str(error), fix=fix)
    said = f"{settings.temporal_address} answers; namespace {settings.temporal_namespace}"
    return Finding("temporal", ok=True, said=f"{said}, task queue {settings.temporal_task_queue}")


async def _without_temporal(settings: Settings) -> Finding | None:
    try:
        works = (await aside(deployment.load_of, settings)).works
    except BelugaError:
        return None  # which another finding says
    durable = sorted(name for name, work in works.items() if work.durable)
    if not durable:
        return None
    said = f"not configured: starts of {', '.join(durable)}, and of what starts them, are refused"
    return Finding(
        "temporal", ok=False, said=said, fix="set BELUGA_TEMPORAL_ADDRESS; `beluga dev --temporal` brings one"
    )


def _topics(specs: Sequence[TopicSpec], found: Mapping[str, TopicSpec]) -> list[Finding]:
    missing = [spec.name for spec in specs if spec.name not in found]
    there = [(spec, found[spec.name].partitions) for spec in specs if spec.name in found]
    other = [f"{spec.name} has {count} partitions" for spec, count in there if count != spec.partitions]
    findings: list[Finding] = []
    if missing:
        told = f"{len(missing)} missing: {', '.join(missing[:3])}{' ...' if missing[3:] else ''}"
        findings.append(Finding("topics", ok=False, said=told, fix="beluga topics apply"))
    if other:
        fix = "declare what is there (BELUGA_PARTITIONS, topics/), or move to new topics (BELUGA_PREFIX)"
        findings.append(Finding("topics", ok=False, said=", ".join(other), fix=fix))
    if not missing and not other:
        findings.append(Finding("topics", ok=True, said=f"all {len(specs)} are there, with the partitions declared"))
    return findings


def _kept(
    connection: KafkaConnection, needed: Needed, specs: Sequence[TopicSpec], found: Mapping[str, TopicSpec]
) -> list[Finding]:
    """How those that exist are kept: one finding for each kind of what is otherwise than declared."""
    deviations, unchecked = conformity(specs, found)
    refused = unsafe(needed.own, deviations)
    borne = [each for each in deviations if each not in refused]
    findings = [
        Finding("kept", ok=ok, said=str(kind), fix=mending(kind, connection.where))
        for ok, some in ((False, refused), (None, borne))
        for kind in alike(some)
    ]
    if unchecked:
        said = f"not checked for {len(unchecked)} topics: Kafka does not tell {connection.user} (DescribeConfigs)"
        findings.append(Finding("kept", ok=None, said=said, fix="run this as an operator: `beluga acls operator`"))
    elif found and not deviations:
        findings.append(Finding("kept", ok=True, said="replicas, cleanup and retention are as declared, or safer"))
    return findings


def _counts(settings: Settings, found: Mapping[str, TopicSpec]) -> list[Finding]:
    names = topics(settings)
    keyed = [names.run_requests, names.run_events, names.node_done, names.run_results, names.runs]
    keyed.append(names.workflow_requests)
    counts = {name: found[name].partitions for name in keyed if name in found}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        fix = "give them one count: create the engine's topics anew under another BELUGA_PREFIX"
        return [Finding("partitions", ok=False, said=told, fix=fix)]
    return [
        Finding("partitions", ok=True, said=f"run-keyed topics have {count} each") for count in set(counts.values())
    ]


async def _fencing(settings: Settings, connection: KafkaConnection, admin: KafkaTopics) -> Finding:
    """Tried on a topic of its own, which is deleted after."""
    name = f"{settings.prefix}.doctor-{secrets.token_hex(4)}"
    try:
        await admin.ensure([TopicSpec(name, 1, {}, settings.replication)])
    except AccessDenied:
        said = f"not tried: {connection.user} may not create the topic that it takes"
        return Finding("fencing", ok=None, said=said, fix="run this as an operator: `beluga acls operator`")
    try:
        probe = Outgoing(name, b"probe", b"", partition=0)
        fences = await broker_fences(connection, name, probe)
    finally:
        await admin.delete([name])
    if fences:
        return Finding("fencing", ok=True, said="a former owner of a partition cannot write any more")
    said = "this broker does not refuse a former owner of a partition: fine for one process, not for several"
    return Finding("fencing", ok=None, said=said, fix="use Apache Kafka where several coordinators run")


def _print(finding: Finding) -> None:
    sign = {True: OK, False: BAD, None: WARN}[finding.ok]
    console.print(Text.assemble(sign, " ", (f"{finding.check:<16}", "bold"), finding.said), soft_wrap=True)
    if finding.fix:
        console.print(Text.assemble(f"  {'':<16}", ("→", "yellow"), " ", finding.fix), soft_wrap=True)
