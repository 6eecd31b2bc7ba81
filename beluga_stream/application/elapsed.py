"""How long ago something was, by a clock that may have been set back since."""


def has_elapsed(since_ms: int, now_ms: int, most_ms: float) -> bool:
    """Whether it was so long ago. What lies ahead of the clock was so long ago, too, for all that anybody can tell.

    So what is done from time to time goes on, whichever way the clock was set.
    """
    return not 0 <= now_ms - since_ms < most_ms
