"""Durable graphs as Temporal workflows: the interpreter that drives the reducer, its activities, worker and client."""
