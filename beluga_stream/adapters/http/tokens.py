"""Who may do what: bearer tokens, known by their hashes, and stream tokens that open one run's stream for a while."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import InvalidConfig
from ...ports.clock import Clock

Scope = Literal["start", "read", "control", "publish"]
"""`start` starts runs, `read` sees them, `control` cancels, retries and signals them, `publish` sends events."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "bst_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the token's name, or the address where none is wanted. `run` is the only one it may see, if given."""

    name: str
    scopes: frozenset[Scope]
    run: str | None = None

    def may(self, scope: Scope, run: str | None) -> bool:
        """Whether it may do this, to this run."""
        return scope in self.scopes and self.run in (None, run)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that may come. `hash` is SHA-256 in hex: a random token of 256 bits needs no slower one."""

    name: str
    scopes: frozenset[Scope]
    hash: str

    def line(self) -> str:
        """As the file of tokens has it."""
        return f"{self.name}:{'+'.join(scope for scope in SCOPES if scope in self.scopes)}:{self.hash}"


def new_token(name: str, scopes: frozenset[Scope]) -> tuple[str, Token]:
    """A new token, as its holder gets it, and what the gateway keeps. Raises `InvalidConfig` for a wrong name."""
    if _NAME.fullmatch(name) is None:
        raise InvalidConfig(f"{name!r} cannot name a token: 1 to 64 letters, digits, '.', '_' and '-'")
    text = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return text, Token(name, scopes, hash_of(text))


def hash_of(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_tokens(text: str, where: str) -> tuple[Token, ...]:
    """The tokens of lines `name:scope+scope:hash`; empty lines and those with # are none. Raises `InvalidConfig`."""
    found: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        given, _, digest = rest.partition(":")
        scopes = frozenset(scope for scope in SCOPES if scope in given.split("+"))
        if _NAME.fullmatch(name) is None or _HASH.fullmatch(digest) is None or len(scopes) != len(given.split("+")):
            raise InvalidConfig(
                f"{where}, line {number} is no token: it must be name:scopes:hash with scopes of "
                f"{'+'.join(SCOPES)}, as `beluga tokens new` prints it"
            )
        if name in found:
            raise InvalidConfig(f"{where} has two tokens named {name!r}")
        found[name] = Token(name, scopes, digest)
    return tuple(found.values())


class Tokens:
    """The tokens that open the gateway. Without any, everybody may do everything."""

    def __init__(self, tokens: Sequence[Token], *, clock: Clock, stream_secret: bytes | None = None) -> None:
        self._tokens = tuple(tokens)
        self._clock = clock
        self._secret = stream_secret or secrets.token_bytes(_SECRET_BYTES)

    @property
    def wanted(self) -> bool:
        """Whether a token must be shown."""
        return bool(self._tokens)

    def caller(self, text: str) -> Caller | None:
        """Whose token it is; None: nobody's. Compares with all of them, each in constant time."""
        given = hash_of(text)
        found: Token | None = None
        for token in self._tokens:
            if hmac.compare_digest(token.hash, given):
                found = token
        return None if found is None else Caller(found.name, found.scopes)

    def stream_token(self, caller: Caller, run: str, seconds: float) -> tuple[str, int]:
        """A token that reads one run's stream, for a URL, and when it ends (epoch milliseconds)."""
        until_ms = self._clock.now_ms() + int(seconds * 1000)
        body = f"{caller.name}\n{run}\n{until_ms}".encode()
        return f"{_text(body)}.{_text(self._sign(body))}", until_ms

    def stream_caller(self, text: str) -> Caller | None:
        """Whose stream token it is; None when it is forged or its time is up."""
        body, _, signature = text.partition(".")
        try:
            signed, given = _bytes(body), _bytes(signature)
            name, run, until = signed.decode().split("\n")
            until_ms = int(until)
        except (ValueError, binascii.Error):
            return None
        if not hmac.compare_digest(self._sign(signed), given) or until_ms <= self._clock.now_ms():
            return None
        # With allowances of its own: a thousand pages of one shop come back at once after a restart.
        return Caller(f"{name}/{run}", frozenset(("read",)), run)

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"stream\n" + body, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
