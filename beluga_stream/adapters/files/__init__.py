"""Ports on file systems, local or remote, through fsspec."""
