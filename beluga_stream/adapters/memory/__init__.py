"""Ports kept in this process: for the local engine and for tests."""
