"""Making keys."""

import secrets

from ..bootstrap.encryption import new_line
from .screen import print_json


def print_new(name: str | None, *, as_json: bool) -> None:
    """A new key on standard output, and nothing else. Raises `InvalidConfig`."""
    name = name or f"k-{secrets.token_hex(4)}"
    line = new_line(name)
    if as_json:
        print_json({"id": name, "key": line.partition(":")[2]})
    else:
        print(line)
