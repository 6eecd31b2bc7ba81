"""Ids of executions are nobody else's, in no process, though they are drawn many at a time."""

import re
import subprocess
import sys

from beluga_stream.application.worker.incarnations import new_incarnation

_PARENT_AND_CHILD = """
import os
from beluga_stream.application.worker.incarnations import new_incarnation
new_incarnation()
child = os.fork()
os.write(1, " ".join([*(new_incarnation() for _ in range(200)), ""]).encode())  # in one piece, as they are few
if child:
    os.waitpid(child, 0)
"""


def test_each_is_new_and_has_twelve_digits() -> None:
    drawn = [new_incarnation() for _ in range(2_000)]
    assert len(set(drawn)) == len(drawn)
    assert all(re.fullmatch("[0-9a-f]{12}", each) for each in drawn)


def test_a_child_draws_others_than_its_parent() -> None:
    told = subprocess.run([sys.executable, "-c", _PARENT_AND_CHILD], capture_output=True, text=True, check=True)
    drawn = told.stdout.split()
    assert len(set(drawn)) == len(drawn) == 400
