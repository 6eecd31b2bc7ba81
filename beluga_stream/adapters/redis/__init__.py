"""Conversations and results in Redis."""
