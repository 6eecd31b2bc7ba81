"""What somebody who watches is told: a line for each harm, and below them one line of what is happening."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status


class Screen:
    """Writes to standard error, which leaves standard output to the result. Use it with `with`."""

    def __init__(self) -> None:
        self.doing = "starting the processes"
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = Status("", console=self._console) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        self.show("")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, counts: str) -> None:
        """How far it is: only where a person looks on."""
        if self._status is not None:
            self._status.update(f"{counts}  {self.doing}"[: self._console.width - 4])
