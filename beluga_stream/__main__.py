"""`python -m beluga_stream` is `beluga`."""

from .cli.main import run

run()
