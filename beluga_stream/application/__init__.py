"""The engine's roles and what they are made of, all written against ports.

A map of the modules; each row begins with the one to read first.

Coordinator
    coordinator, what comes in: admission intake stamping early
    partition, what is owned: states limits timers deadlines unanswered extent
    settlement, what goes out: rendering children progress carried arguments
    watchdog, runs that hang: lookout
    sweeping, blobs that nobody wants any more: named

Worker
    worker: attempts underway leases leaving notices reported fusion outbox sending incarnations
    execution, one call of a handler: context conversion middleware caching resources judging verdict places spanned
    threads, where handlers run: plain_calls node_threads apart performing
    streams, what nodes read of one another: sequence readahead feeding

Ingest and gatherer
    ingest: inbound requesting arriving
    gatherer: gatherings gathered horizon schedules
    backfill, earlier events: windows asking

Clients
    desk, what a client asks: runs starting signalling overrides forks
    following, a run's stream: results inner shown answer ending cursor event_json
    tails, who reads the log for it: follower catchup
    summaries, lists of runs: runlist snapshot

Durable graphs
    bridge: pinned standing inside

In one process, without a broker
    local: family local_attempts local_limits local_streams executing
    line, chains of plain handlers: directly watched workers

For programs of users
    subscription, the message bus: parcels
    tasks, the scheduler: task
    in_process, what one process keeps: sqlite_files circuits tally

For all of them
    topics: partitioner messages codec depth catalog deadletters
    payloads, values on their way: sealing schemas
    tracing: health elapsed
"""
