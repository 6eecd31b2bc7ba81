"""The sweeper of blobs, for the coordinators and for the command line."""

from ..application.clients.snapshot import rows
from ..application.coordinator.sweeping import Sweeper
from ..domain.retention import RENEW_MS
from ..errors import InvalidConfig
from ..ports.blobs import SweptBlobs
from ..ports.log import Reader
from .declared import changelog_topic
from .settings import Settings

_HOUR_MS = 3_600_000
_MISSED = 2
"""A value of a durable run may miss one time of being new: its workers, or Temporal, were away."""


def sweeper(settings: Settings, reader: Reader, blobs: SweptBlobs) -> Sweeper:
    """One that names what the changelog of this engine names.

    Raises `InvalidConfig` where it would remove what durable runs that go on have.
    """
    kept, least = settings.retention_hours + 2 * settings.sweep_hours, _MISSED * RENEW_MS / _HOUR_MS
    if settings.has_temporal and kept < least:
        raise InvalidConfig(
            f"BELUGA_RETENTION_HOURS and twice BELUGA_SWEEP_HOURS are {kept:g} hours, too little where durable graphs "
            f"run: what their runs have in the blob store is made new once a day, and could be swept while they "
            f"go on: let it be {least:g} hours or more"
        )
    return Sweeper(
        blobs,
        lambda: rows(reader, changelog_topic(settings)),
        retention_ms=int(settings.retention_hours * _HOUR_MS),
        every_ms=int(settings.sweep_hours * _HOUR_MS),
    )
