"""Durable graphs as DBOS workflows, in this process: the journal, the runs that write it, and the engine."""
