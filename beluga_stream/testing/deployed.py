"""The port `Deployment`, over programs that are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..api.likeness import check_alike
from ..domain.ids import GraphHash
from ..ports.handlers import Program, Trigger


@dataclass(frozen=True)
class Deployed:
    """Programs by hash, and triggers."""

    programs: Mapping[GraphHash, Program]
    triggers: Sequence[Trigger] = ()

    def latest(self, graph: str) -> Program | None:
        found = [program for program in self.programs.values() if program.definition.name == graph]
        return found[-1] if found else None


def deployed(programs: Sequence[Program], triggers: Sequence[Trigger] = ()) -> Deployed:
    """These programs with all their subgraphs. Raises `InvalidGraph` for two that only their functions tell apart."""
    check_alike(programs)
    found: dict[GraphHash, Program] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        found[program.definition.hash] = program
        waiting.extend(program.children.values())
    return Deployed(found, triggers)
