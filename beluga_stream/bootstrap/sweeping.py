"""The sweeper of blobs, for the coordinators and for the command line."""

from ..application.snapshot import rows
from ..application.sweeping import Sweeper
from ..ports.blobs import SweptBlobs
from ..ports.log import Reader
from .declared import changelog_topic
from .settings import Settings

_HOUR_MS = 3_600_000


def sweeper(settings: Settings, reader: Reader, blobs: SweptBlobs) -> Sweeper:
    """One that names what the changelog of this engine names."""
    return Sweeper(
        blobs,
        lambda: rows(reader, changelog_topic(settings)),
        retention_ms=int(settings.retention_hours * _HOUR_MS),
        every_ms=int(settings.sweep_hours * _HOUR_MS),
    )
