"""Durable graphs: the bridge from the log to whoever hosts workflows, and what a workflow needs to be a run.

A map of the modules; each row begins with the one to read first.

    bridge: standing pinned
    inside, what its nodes wait for
"""
