"""`beluga serve` and its tokens."""

from rich.text import Text

from ..adapters.http.tokens import SCOPES, Scope, new_token
from ..bootstrap.environment import warn_of_unknown
from ..bootstrap.gateway import serve as serve_gateway
from ..bootstrap.gateway import tokens_of
from ..bootstrap.logs import configure_logs
from ..errors import InvalidInput
from .screen import console, print_json
from .values import settings_with


async def serve(*, address: str | None, broker: str | None, topics: str | None, as_json: bool) -> None:
    """Serve until told to stop."""
    settings = settings_with(broker=broker, http_address=address, topics=topics)
    configure_logs(settings)
    warn_of_unknown()
    wanted = tokens_of(settings).wanted

    def ready(url: str) -> None:
        if as_json:
            print_json({"address": url, "tokens": wanted})
            return
        console.print(Text.assemble(f"serving {settings.broker} at ", (url, "bold"), f", {url}/openapi.json"))
        if not wanted:
            console.print("without tokens: whoever is on this machine may do everything", style="dim")

    await serve_gateway(settings, ready)


def print_new_token(name: str, scopes: list[str], *, as_json: bool) -> None:
    """Print a new token for its holder, and the line that the gateway keeps of it."""
    text, token = new_token(name, frozenset(_scope(scope) for scope in scopes or SCOPES))
    if as_json:
        print_json({"token": text, "line": token.line()})
        return
    console.print(f"token, for its holder, shown this once: {text}", soft_wrap=True)
    console.print(f"line for BELUGA_HTTP_TOKEN_FILE:        {token.line()}", soft_wrap=True)


def _scope(given: str) -> Scope:
    for scope in SCOPES:
        if scope == given:
            return scope
    raise InvalidInput(f"there is no scope {given!r}: it is one of {', '.join(SCOPES)}")
