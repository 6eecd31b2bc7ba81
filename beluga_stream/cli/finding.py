"""One thing that `beluga doctor` has checked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. `ok` None means: works, with a remark."""

    check: str
    ok: bool | None
    said: str
    fix: str = ""
