"""The engine's roles: coordinator, worker, ingest, client and the local engine, all written against ports."""
