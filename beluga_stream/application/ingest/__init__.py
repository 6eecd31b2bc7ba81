"""Ingest and gatherer: make requests for runs out of events, one by one, by windows and by the clock.

A map of the modules; each row begins with the one to read first.

One event, one run
    ingest: inbound requesting circles

Several events, one run
    gatherer: arriving gatherings gathered schedules
    horizon, how far has been read

Earlier events
    backfill: asking windows
"""
