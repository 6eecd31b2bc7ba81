"""Ports on OpenTelemetry's API; without an SDK in the process they cost next to nothing and go nowhere."""
