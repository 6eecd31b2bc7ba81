"""What Kafka must grant, by what each holder does."""

from beluga_stream.bootstrap.connection import topics
from beluga_stream.bootstrap.rights import Holder, Uses, rights_of
from beluga_stream.bootstrap.settings import Settings


def test_an_operator_may_send_again_whatever_a_role_refuses() -> None:
    settings, uses = Settings(), Uses(queues=("default",), sources=("docs",), follows_runs=True, gathers=True)
    names = topics(settings)
    granted = [right for right in rights_of("operator", settings, uses) if "Write" in right.operations]
    roles: tuple[Holder, ...] = ("coordinator", "worker", "ingest", "workflows", "agent")
    read = {
        right.name
        for role in roles
        for right in rights_of(role, settings, uses)
        if right.resource == "topic" and "Read" in right.operations and right.name.startswith(f"{names.prefix}.")
    }
    # What is read beside what is taken: nothing of it is refused.
    taken = read - {names.control, names.run_results, names.graphs, names.dead_letters}
    assert {"docs", *taken} - {
        name
        for right in granted
        for name in {"docs", *taken}
        if name == right.name or (right.prefixed and name.startswith(right.name))
    } == set()
    assert taken >= {names.trigger_events, names.runs, names.workflow_requests, names.node_ready("default")}
