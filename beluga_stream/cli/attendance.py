"""Which of the engine's processes are there, as far as the broker knows: by the members of their consumer groups.

That one is missing is a remark, and nothing wrong: topics and rights are looked at before anything starts, too.
"""

from collections.abc import Mapping, Sequence

from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.membership import Membership, memberships
from ..bootstrap import deployment
from ..bootstrap.connection import topics
from ..bootstrap.declared import group
from ..bootstrap.deployment import LoadedDeployment
from ..bootstrap.settings import Settings
from ..errors import AccessDenied, InvalidDeployment
from .aside import aside
from .finding import Finding

_START = "`faust -A beluga_stream worker` starts them, or those of BELUGA_ROLE; `beluga dev` brings all"


async def attendance(settings: Settings, connection: KafkaConnection) -> list[Finding]:
    """What is found of the processes. Raises `LogUnavailable`."""
    try:
        deployed = await aside(deployment.load_of, settings)
    except InvalidDeployment:
        deployed = None  # which another finding says
    groups = _groups(settings, deployed)
    try:
        found = await memberships(connection, [name for names in groups.values() for name in names])
    except AccessDenied:
        said = f"not checked: {connection.user} may not see who is in consumer groups"
        return [Finding("processes", ok=None, said=said, fix="run this as an operator: `beluga acls operator`")]
    queues = _queues(deployed)
    served = {topics(settings).node_ready(queue): queue for queue in queues}
    return [_present(_counts(groups, found)), *_unserved(served, found[group(settings, "worker")])]


def _groups(settings: Settings, deployed: LoadedDeployment | None) -> dict[str, list[str]]:
    """By role, the groups of those that this deployment needs."""
    roles = {"coordinator": ["coordinator"], "worker": ["worker"]}
    if deployed is not None and deployed.triggers:
        roles["ingest"] = ["ingest", "gatherer"]
    if settings.has_temporal:
        roles["workflows"] = ["workflows"]
    return {role: [group(settings, name) for name in names] for role, names in roles.items()}


def _queues(deployed: LoadedDeployment | None) -> set[str]:
    programs = () if deployed is None else deployed.programs.values()
    return {node.queue for program in programs for node in program.definition.nodes}


def _counts(groups: Mapping[str, Sequence[str]], found: Mapping[str, Membership]) -> dict[str, int]:
    """How many processes of each role there are. One of ingest may be in two groups."""
    return {role: max(found[name].members for name in names) for role, names in groups.items()}


def _present(counts: Mapping[str, int]) -> Finding:
    said = ", ".join(f"{role} {count}" for role, count in counts.items())
    absent = [role for role, count in counts.items() if count == 0]
    if not absent:
        return Finding("processes", ok=True, said=said)
    nobody = "none of the engine is there" if len(absent) == len(counts) else f"no {', no '.join(absent)} is there"
    return Finding("processes", ok=None, said=f"{nobody}: what is sent to them waits ({said})", fix=_START)


def _unserved(queues: Mapping[str, str], workers: Membership) -> list[Finding]:
    """Queues that no worker takes nodes of, where there are workers, and all of them have said what they read."""
    if not workers.members or workers.topics is None:
        return []
    unserved = sorted(queue for topic, queue in queues.items() if topic not in workers.topics)
    if not unserved:
        return []
    said = f"no worker serves {', '.join(unserved)}: its nodes wait"
    return [Finding("queues", ok=None, said=said, fix="start a worker whose BELUGA_QUEUES names it, or names none")]
