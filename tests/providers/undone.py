"""What is expected of a graph of `deployed.build` whose time is up, on every engine of other processes."""

from pathlib import Path
from typing import Any

import pytest

from beluga_stream import RunChanged
from beluga_stream.errors import TimedOut


async def is_undone_in_time(trip: Any, folder: Path, *, streamed: bool) -> None:
    """Run it, with a second to do so: whoever asked hears of its end when it is undone, and not before."""
    if streamed:
        events = [event async for event in trip.stream(str(folder))]
        assert isinstance(events[-1], RunChanged)
        assert (events[-1].status, events[-1].failure and events[-1].failure.code) == ("failed", "timeout")
    else:
        with pytest.raises(TimedOut, match="did not end within 1 s"):
            await trip.invoke(str(folder))
    assert (folder / "released").exists()
