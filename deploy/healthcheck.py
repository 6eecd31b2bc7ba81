"""Health of a container of beluga_stream: whether it is connected to its broker. Exit code 0 or 1.

A process that loses its broker for good, or its partitions to another, exits and is restarted; what this
tells apart is starting and started. It reads the kernel's table of connections: a client of Kafka, started
every few seconds, would cost more than the work of a quiet worker.
"""

import os
import sys
from pathlib import Path

ESTABLISHED = "01"


def connected(ports: set[int]) -> bool:
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            if state == ESTABLISHED and int(remote.rpartition(":")[2], 16) in ports:
                return True
    return False


if __name__ == "__main__":
    brokers = os.environ.get("BELUGA_BROKER", "127.0.0.1:9092").split(",")
    sys.exit(not connected({int(broker.rpartition(":")[2]) for broker in brokers}))
