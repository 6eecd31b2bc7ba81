"""What a user writes with: graphs, chains, triggers. It compiles to programs, which the engines run.

A map of the modules; each row begins with the one to read first.

Graphs
    graph: chain work ref node signal stream retry limit
    blueprint, what is written down: building condition options ranges
    compile, from there to a program: wiring check fit liveness variants likeness adapter
    handler, a user's function: signature unannotated bound carried keys

What starts runs
    trigger: topic message gathering schedule
    client

Orchestrator
    orchestrator: features managed running runnable
    provider, its engines: here
    workflow: workflows

What handlers are given, and what is put around them
    resource
    memory: remembering history buffer_memory summary_memory key_value_memory vector_memory
    cache
    guard: retrying circuit_breaker bulkhead rate_limit hedge

Message bus and scheduler
    bus: bus_message bus_handler bus_data subscription
    scheduler: task
"""
