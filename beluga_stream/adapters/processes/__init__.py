"""Processes for handlers that hold the interpreter."""
