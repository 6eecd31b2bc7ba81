"""What `faust -A beluga_stream worker` runs the app in."""

from faust.worker import Worker


class PromptWorker(Worker):
    """Ends as soon as all is closed: Faust's own sleeps for another second, in which nobody has its partitions."""

    async def _sentinel_task(self) -> None:
        return
