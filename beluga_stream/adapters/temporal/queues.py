"""Names of Temporal's task queues: workflows and the nodes of queue `default` share one, others have their own."""


def queue_for(workflows: str, queue: str) -> str:
    """Where the nodes of this queue run, when their workflows run there."""
    return workflows if queue == "default" else f"{workflows}.{queue}"
