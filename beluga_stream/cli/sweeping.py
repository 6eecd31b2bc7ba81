"""One sweep of the blob store from the command line."""

from ..adapters.files.blobs import FileBlobs
from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..bootstrap.connection import kafka
from ..bootstrap.sweeping import sweeper
from .screen import console, print_json
from .values import settings_with


async def sweep(*, broker: str | None, as_json: bool) -> None:
    """Raises `TopicMissing` where no engine has been, and removes nothing then."""
    settings = settings_with(broker=broker)
    async with KafkaReader(kafka(settings)) as reader:
        swept = await sweeper(settings, reader, FileBlobs(settings.blobs)).sweep(SystemClock().now_ms())
    if as_json:
        print_json(swept._asdict())
    else:
        console.print(f"{swept.removed} removed; runs name {swept.named}")
