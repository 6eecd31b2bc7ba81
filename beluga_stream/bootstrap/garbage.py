"""How often a process of the engine looks for garbage."""

import gc


def collect_seldom() -> None:
    """Let the garbage collector leave alone what is here now, and look less often at the rest.

    An event makes dozens of objects and almost no cycles: with Python's defaults a third of a busy worker's
    time went into looking for them, and a fifth of its start, since what is imported stays. What has become garbage
    until now is too little to look for it. Call it before what is large loads, and again after it.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
