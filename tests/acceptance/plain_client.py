"""Publishes a document and reads the run's stream to its end: plain aiokafka, nothing of the project.

Written by docs/wire.md alone. Usage: plain_client.py BROKER PREFIX TOPIC GRAPH JSON
"""

import asyncio
import hashlib
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


def run_id(graph: str, topic: str, identity: str) -> str:
    parts = ["run", graph, topic, identity]
    joined = "\x1f".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def value_of(payload: dict[str, object]) -> object:
    assert payload["kind"] == "inline", payload
    return payload.get("value")


async def main(broker: str, prefix: str, topic: str, graph: str, document: str) -> None:
    results = f"{prefix}.run-results"
    consumer = AIOKafkaConsumer(results, bootstrap_servers=broker)
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await consumer.start()
    await producer.start()
    try:
        await consumer.seek_to_end()
        for partition in consumer.assignment():
            await consumer.position(partition)  # so that what is published next is read
        sent = await producer.send_and_wait(topic, document.encode())
        run = run_id(graph, topic, f"{topic}/{sent.partition}/{sent.offset}@{sent.timestamp}")
        counter, chunks = 0, []
        async for record in consumer:
            message = json.loads(record.value)
            assert message["v"] == 1
            if message["run"] != run:
                continue
            if message["type"] == "chunk":
                chunks.append((message["node"], message["seq"], value_of(message["value"])))
            if message["type"] == "progress":
                status = message.get("status")
                if status is not None and status["counter"] > counter and status["status"] != "running":
                    print(
                        json.dumps(
                            {
                                "run": run,
                                "status": status["status"],
                                "output": value_of(status["output"]),
                                "chunks": chunks,
                            }
                        )
                    )
                    return
                counter = max([counter, *(node["counter"] for node in message.get("nodes", []))])
    finally:
        await producer.stop()
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
