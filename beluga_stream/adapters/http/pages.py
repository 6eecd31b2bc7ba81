"""The page for people at the gateway's root: files of this package, served as they are.

It uses the operations that everybody may use, with the token that its reader gives it, so it opens no door of its own.
"""

import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_INDEX = "index.html"
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_HEADERS = {
    # Values of runs are anybody's: nothing but these files may be executed, and nobody else be asked.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _File:
    """One file, read once; a browser that has it already is told so."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._kind = _KINDS[name.rpartition(".")[2]]
        self._headers = _HEADERS | {"ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}

    async def __call__(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["ETag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._data, headers=self._headers, media_type=self._kind)


def page_routes() -> list[BaseRoute]:
    """A route for each file of the page, and the page itself at the root."""
    folder = resources.files(__package__).joinpath("page")
    files = {file.name: _File(file.name, file.read_bytes()) for file in folder.iterdir()}
    routes: list[BaseRoute] = [Route("/", files[_INDEX].__call__)]
    routes += [Route(f"/page/{name}", file.__call__) for name, file in files.items() if name != _INDEX]
    return routes
