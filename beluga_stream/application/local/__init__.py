"""Runs in this process, without a broker.

A map of the modules; each row begins with the one to read first.

Any graph
    local: executing showing
    family, a run with its children: local_attempts local_limits local_streams

A chain of plain handlers
    line: directly

Runs beside one another
    watched: workers
"""
