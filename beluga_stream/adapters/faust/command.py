"""What `faust -A beluga_stream worker` runs the app in."""

from typing import Any

from faust.worker import Worker


class PromptWorker(Worker):
    """Ends as soon as all is closed: Faust's own sleeps for another second, in which nobody has its partitions.

    Where nobody looks on, it turns no spinner: the codes that hide a cursor would stand before lines of the log, and no
    reader of JSON lines takes those.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.stdout.isatty():
            self.spinner = None

    async def _sentinel_task(self) -> None:
        return
