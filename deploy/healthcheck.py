"""Health of a container of beluga_stream. Exit code 0 or 1.

With BELUGA_PROBE_ADDRESS the process is asked whether it is ready. Without, what counts is whether it is connected to
its broker, read from the kernel's table of connections: a client of Kafka, started every few seconds, would cost more
than the work of a quiet worker.
"""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

ESTABLISHED = "01"
PATIENCE_SECONDS = 4.0


def connected(ports: set[int]) -> bool:
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if state == ESTABLISHED and int(remote.rpartition(":")[2], 16) in ports:
                return True
    return False


def ready(address: str) -> bool:
    host, _, port = address.rpartition(":")
    reached = "127.0.0.1" if host in {"", "0.0.0.0", "[::]"} else host  # noqa: S104 - it is asked, not listened on
    try:
        with urllib.request.urlopen(f"http://{reached}:{port}/ready", timeout=PATIENCE_SECONDS):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    probe = os.environ.get("BELUGA_PROBE_ADDRESS", "")
    brokers = os.environ.get("BELUGA_BROKER", "127.0.0.1:9092").split(",")
    is_well = ready(probe) if probe else connected({int(broker.rpartition(":")[2]) for broker in brokers})
    sys.exit(not is_well)
