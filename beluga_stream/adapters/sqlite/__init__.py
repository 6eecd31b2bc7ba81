"""Conversations and results in files of SQLite."""
