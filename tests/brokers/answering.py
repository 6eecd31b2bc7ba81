"""Whether a broker answers at an address, and addresses where nobody does yet."""

import socket
import struct
import subprocess
import time
from contextlib import suppress

HOST = "127.0.0.1"
READY_WITHIN = 60.0


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(
    address: str, process: "subprocess.Popen[bytes] | None" = None, *, within: float = READY_WITHIN
) -> bool:
    """Whether a broker answers there before the time (seconds) is up, and before its process ends."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            return False
        if answers(address):
            return True
        time.sleep(0.05)
    return False


def answers(address: str) -> bool:
    """Ask which versions of the API it speaks; an open port alone may be Docker's, with nobody behind it."""
    host, _, port = address.rpartition(":")
    api_versions, version, correlation, no_client_id = 18, 0, 1, -1
    request = struct.pack(">hhih", api_versions, version, correlation, no_client_id)
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return len(connection.recv(8)) == 8
    return False
