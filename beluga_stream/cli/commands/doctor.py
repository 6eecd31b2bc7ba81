"""`beluga doctor`."""

# ruff: noqa: PLC0415 - a command imports its work when it runs, so that `beluga --help` is quick

from ..exits import perform
from ..options import AsJson, Broker


def doctor(*, broker: Broker = None, as_json: AsJson = False) -> None:
    """Check settings, deployment, blob store, broker, topics, processes and fencing; problems come with their fix.

    Exit code 1 if something is wrong. A remark (!) is nothing wrong, such as that no worker runs yet.

    Example: beluga doctor --broker kafka:9092
    """
    from ..diagnosis import diagnose

    perform(diagnose(broker=broker, as_json=as_json), as_json=as_json)
