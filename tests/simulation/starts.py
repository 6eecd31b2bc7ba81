"""The runs of one seed: of which programs, with what given, and what their users do."""

import random
from collections.abc import Callable

from beluga_stream.ports.handlers import Program
from beluga_stream.testing.simulation import Start
from tests.simulation.programs import random_program, signals_of


def starts_of(
    seed: int, draw: Callable[[int, int], Program] = random_program, *, nodes: int = 7, programs: int = 3, runs: int = 5
) -> list[Start]:
    """At most so many `runs` of at most so many `programs` that are drawn, of at most so many `nodes`."""
    rnd = random.Random(seed)
    drawn = [draw(seed * 10 + number, rnd.randint(1, nodes)) for number in range(rnd.randint(1, programs))]
    retry = rnd.random() < 0.25
    return [
        Start(
            program=(program := rnd.choice(drawn)),
            value=list(range(rnd.choice([0, 1, 3, 65]))),
            key=f"run-{number}",
            signals=signals_of(program),
            again=rnd.random() < 0.3,
            retry=retry,
            cancel_after=rnd.uniform(0, 15) if rnd.random() < 0.15 else None,
        )
        for number in range(rnd.randint(1, runs))
    ]
