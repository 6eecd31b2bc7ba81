"""Which task waits for which: checked before anything runs."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from ..errors import InvalidConfig


def check_dependencies(needed: Mapping[str, Iterable[str]]) -> None:
    """Raises `InvalidConfig` for a dependency that is no task of the set, and for a cycle, which it names."""
    for name, others in needed.items():
        for other in others:
            if other not in needed:
                known = ", ".join(sorted(needed))
                raise InvalidConfig(
                    f"task {name!r} depends on {other!r}, which is none of this set: there are {known}; "
                    f"give the handle of one that was submitted before",
                    task=name,
                )
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InvalidConfig(f"tasks wait for each other in a circle: {cycle}", task=error.args[1][0]) from None
