"""A process that takes records and never settles them, until somebody kills it (test_faust_role.py).

Arguments: broker, group, topic, instance. Prints a line when it has taken records.
"""

import asyncio
import sys

from beluga_stream.adapters.faust.app import RoleOptions, role_app
from beluga_stream.adapters.kafka.connection import KafkaConnection
from tests.contract.recording import RecordingRole


async def main(broker: str, group: str, topic: str, instance: str) -> None:
    role = RecordingRole(topic, hold=True)
    connection = KafkaConnection.parse(broker)
    app = role_app(
        role,
        group=group,
        broker=connection.faust_settings(),
        instance=instance,
        options=RoleOptions(commit_interval=0.05, session_timeout=6.0),
    )
    await app.start()
    seen = 0
    while True:
        await role.until(lambda: len(role.records) > seen, seconds=120)  # noqa: B023 - awaited at once
        seen = len(role.records)
        sys.stdout.write(f"taken {seen}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
