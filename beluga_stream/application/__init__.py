"""The engine's roles and what they are made of, all written against ports.

A map: the packages, and the modules that several of them need; each row begins with the one to read first.

Roles
    coordinator/, owns runs and decides
    worker/, runs the nodes that it is given
    ingest/, makes runs of events
    durable/, hands durable graphs to whoever hosts workflows

Who uses them
    clients/, start runs, follow them, list them
    local/, runs without a broker

What roles and local runs share
    execution/, one call of a handler

For programs of users, beside runs
    bus/, messages among agents
    scheduler/, tasks of one process
    in_process/, what one process keeps

For all of them
    topics: partitioner extent messages codec depth catalog deadletters outbox
    requests, what may be asked of runs
    payloads, values on their way: sealing schemas
    tracing: health elapsed
"""
