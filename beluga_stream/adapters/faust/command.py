"""What `faust -A beluga_stream worker` runs the app in."""

import logging
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
        # The command line turns it on, and so the banner would name an address at which nobody listens.
        self.app.conf.web_enabled = False
        # What a node prints is no warning of Faust's.
        self.redirect_stdouts = False

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """The app's own handlers for everybody's lines are in the place of Faust's, and not beside them."""
        super().on_setup_root_logger(logger, level)
        if self.loghandlers:
            for handler in self.loghandlers:
                handler.setLevel(level)
            logger.handlers[:] = self.loghandlers

    async def _sentinel_task(self) -> None:
        return
