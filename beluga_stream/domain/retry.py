"""How often a failed node is tried again, and when."""

from .frozen import Frozen
from .ids import digest

MOST_ATTEMPTS = 21
"""Twenty retries after the first attempt."""


class RetryPolicy(Frozen):
    """Exponential backoff, doubling from `first_ms` to at most `most_ms`; `attempts` counts the first too.

    `on` names the exceptions worth another attempt; empty means every one that is not marked
    as final. Workers judge it, since only they see the exception.
    """

    attempts: int = 4
    first_ms: int = 1_000
    most_ms: int = 60_000
    on: tuple[str, ...] = ()


def delay_ms(policy: RetryPolicy, failed: int, *ids: str, asked_ms: int = 0) -> int:
    """The pause after the `failed`-th failure (from 1): between half and all of the exponential step.

    The jitter comes from the ids and not from a random source, so that a replay decides the same
    ("equal jitter", Brooker, Exponential Backoff And Jitter, 2015). What failed may ask for more, up to the policy's
    most: how long somebody waits is never for a server alone to say.
    """
    step = min(policy.most_ms, policy.first_ms << min(failed - 1, 40))
    spread = int(digest(*ids, str(failed))[:8], 16) / 0xFFFFFFFF
    return max(int(step / 2 + step / 2 * spread), min(asked_ms, policy.most_ms))
