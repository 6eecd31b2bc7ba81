"""What the log says of exporting: once that it fails, once that it works again, once that spans do not fit."""

import logging

log = logging.getLogger("beluga_stream.telemetry")


class Told:
    """Says when exporting begins to fail, and when it works again; never the same twice."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed = 0
        self._full = False

    def heard(self, *, success: bool) -> None:
        """One export has ended."""
        if success:
            failed, self._failed = self._failed, 0
            if failed:
                log.warning("%s are exported again", self._what, extra={"action": "telemetry.back", "failed": failed})
            return
        self._failed += 1
        if self._failed == 1:
            log.warning(
                "%s cannot be exported: the engine goes on, and what does not fit into the bounded queue is lost",
                self._what,
                extra={"action": "telemetry.away"},
            )

    def full(self, bound: int) -> None:
        """The queue is full."""
        if not self._full:
            self._full = True
            log.warning(
                "%s end faster than they are exported: more than %d wait, and some are lost",
                self._what,
                bound,
                extra={"action": "telemetry.full"},
            )
