"""`python -m beluga_stream.cli` is `beluga`."""

from .main import run

run()
