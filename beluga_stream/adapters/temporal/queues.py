"""Names of Temporal's task queues: workflows and the nodes of queue `default` share one, others have their own.

What is asked for by an engine, or by whoever reads its stream, has queues of its own: a worker whose log stays in its
process must never take it, since nobody would hear of its chunks and of its end.
"""


def queue_for(workflows: str, queue: str) -> str:
    """Where the nodes of this queue run, when their workflows run there. No queue's name has a colon."""
    return workflows if queue == "default" else f"{workflows}.{queue}"


def told_queue(workflows: str) -> str:
    """Where those run that tell the engine's log."""
    return f"{workflows}:told"
