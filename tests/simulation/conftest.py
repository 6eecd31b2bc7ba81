"""`make simulate` measures which lines of the application its first seeds reach; the others need not be slowed down.

It is coverage that starts in each process, as COVERAGE_PROCESS_START tells it.
"""

import gc
from collections.abc import Iterator

import pytest
from coverage import Coverage

from tests.simulation import test_simulation

_MEASURED_SEEDS = 50
"""Of random graphs."""

_MEASURED_ASIDE = 10
"""Of the others: theirs are longer simulations, and more alike.

Fewer seeds to measure can only reach fewer lines, and being measured makes a seed two to three times as dear.
"""

_MEASURING = Coverage.current()


@pytest.fixture(scope="session", autouse=True)
def seldom_collected() -> Iterator[None]:
    """As the engine's processes have it: a simulation makes many objects and few cycles."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure this test, unless it plays later seeds or plants bugs."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    first = min(parameters.get("seeds", (parameters.get("seed", 0),)))
    is_late = first >= (_MEASURED_SEEDS if request.module is test_simulation else _MEASURED_ASIDE)
    if _MEASURING is None or "plant" in parameters or is_late:
        yield
        return
    _MEASURING.start()
    yield
    _MEASURING.stop()


def pytest_collection_finish() -> None:
    """What is imported is measured; from now on, what `measured` says."""
    if _MEASURING is not None:
        _MEASURING.stop()


def pytest_sessionfinish() -> None:
    """Write down what was reached: the processes of a parallel run end without another chance."""
    if _MEASURING is not None:
        _MEASURING.stop()
        _MEASURING.save()
