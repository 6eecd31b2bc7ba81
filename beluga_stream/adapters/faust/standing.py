"""How a role app stands: whether it is ready, and how far it is behind its topics."""

# ruff: noqa: SLF001 - what Faust's consumer and aiokafka know is in their private parts

from collections.abc import Iterator

from faust.types import TP

from ...application.health import RoleHealth
from ...ports.telemetry import Lag
from .app import RoleApp


def health_of(app: RoleApp) -> RoleHealth:
    """A role is ready once it has recovered what it was assigned, and takes records."""
    driver = app.driver
    failure = None if driver.failure is None else f"{type(driver.failure).__name__}: {driver.failure}"
    return RoleHealth(driver.delivering.is_set() and failure is None, tuple(sorted(driver.owned)), failure)


def lags_of(app: RoleApp) -> Iterator[Lag]:
    """The records of each assigned partition that are in the log and not acknowledged, as far as is known here.

    May be called from another thread, for which reason it copies what it goes through.
    """
    if app._consumer is None or app._consumer._thread is None or app._consumer._thread._consumer is None:
        return
    consumer = app._consumer._thread._consumer
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    if assignment is None or not app.driver.delivering.is_set():
        return
    for target in list(assignment.tps):
        known = assignment.state_value(target)
        # Both are unknown until the first fetch.
        if known is None or known.highwater is None or not known.has_valid_position:
            continue
        done = app.driver.acks.done(TP(target.topic, target.partition))
        behind = known.highwater - (known.position if done is None else done)
        yield Lag(app.driver.group, target.topic, target.partition, max(0, behind))
