"""Which version of a package is here."""

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str:
    """Its version; a checkout that runs without being installed has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
