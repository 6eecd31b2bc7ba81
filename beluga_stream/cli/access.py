"""What each role may do on the broker, as the commands that allow it."""

from dataclasses import asdict

from ..bootstrap import deployment
from ..bootstrap.preparation import uses_of
from ..bootstrap.rights import HOLDERS, Holder, commands, rights_of
from ..bootstrap.settings import Settings
from ..errors import InvalidInput
from .aside import aside
from .screen import print_json
from .values import settings_with


async def show_rights(role: str, *, user: str, agents: str | None, broker: str | None, as_json: bool) -> None:
    """Print the least rights of a role for the topics and groups of these settings and graphs."""
    settings = settings_with(agents=agents, broker=broker)
    holder = _holder(role)
    rights = rights_of(holder, settings, uses_of(settings, await aside(deployment.load_of, settings)))
    if as_json:
        print_json([asdict(right) for right in rights])
        return
    for line in commands(rights, user, _first(settings)):
        print(line)


def _holder(role: str) -> Holder:
    for holder in HOLDERS:
        if holder == role:
            return holder
    raise InvalidInput(f"there is no role {role!r}: it is one of {', '.join(HOLDERS)}")


def _first(settings: Settings) -> str:
    return settings.broker.partition(",")[0]
