"""What the local engine runs handlers by, so that runs may share threads, workers and spans."""

from collections.abc import Mapping
from typing import Protocol

from ...domain.payload import Json
from ...ports.handlers import Handler
from ..execution.apart import Emit
from ..execution.context import Context
from ..execution.verdict import Completed, Failed


class Executing(Protocol):
    """What runs handlers for a run: `Executions`, or what shares them among runs."""

    async def run(
        self,
        handler: Handler,
        values: Mapping[str, Json],
        context: Context,
        *,
        timeout_ms: int | None,
        emit: Emit,
    ) -> Completed | Failed:
        """Call the handler once. Raises nothing but `CancelledError`."""

    async def close(self) -> None:
        """The run has ended."""
