"""Kafka, over aiokafka: the log, the changelog table, topic administration and the message bus.

A map of the modules; each row begins with the one to read first.

What the engine uses
    reader, the log is read: consumer closing names
    appender, the log is written: producer batches
    table, the changelog: store fence renewal
    admin, topics and groups: groups membership namesake
    connection, logins and rights: rights refusal
    patience, while a broker is away: absence
    bus, messages among agents: bus_lines bus_sharing bus_groups

What takes the place of a part of aiokafka (docs/decisions/0035-short-way.md)
    exchange, requests and answers: packet courier pacing
    sender, what is written: produce_packet
    fetcher, what is read: fetch_plan fetched out_of_range fetch_session fetch_packet
"""
