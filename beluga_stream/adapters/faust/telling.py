"""Errors of ours are told once, in one line: not again, with its traceback, by each service they pass through."""

import logging

import faust
from faust.worker import Worker

from ...errors import BelugaError
from .command import PromptWorker

_RERAISING = "We experienced a crash!"


class ToldOnce(logging.Filter):
    """Drops what Faust and mode say about an error that has been told."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = False

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and "reason=%r" not in record.msg and not record.exc_info:
            return not (self._dropped and record.getMessage().find(_RERAISING) >= 0)
        raised = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        arguments = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(error, BelugaError) for error in (raised, *arguments)):
            self._dropped = True
            return False
        return True


_FILTER = ToldOnce()


def tell_once(*services: type) -> None:
    """Let these services, the ordinary app and its worker say nothing more about an error of ours."""
    for service in (faust.App, Worker, PromptWorker, *services):
        service.logger.addFilter(_FILTER)
