"""Port `Cipher` by AES-256-GCM: a random nonce of 12 bytes in front of each ciphertext."""

import hashlib
import hmac
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...application.sealing import key_missing
from ...errors import InvalidConfig, Tampered

KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AesGcm:
    """Encrypts with the first of these keys, opens with any of them.

    The last one also keys the digests: new keys come in front, so that it changes least often.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.active = next(iter(keys))
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        # Of its own, so that no key serves two purposes.
        self._digest_key = hmac.digest(list(keys.values())[-1], b"beluga digest", "sha256")

    def __repr__(self) -> str:
        return f"AesGcm({', '.join(self._ciphers)})"

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[self.active].encrypt(nonce, data, bound)

    def decrypt(self, key: str, data: bytes, bound: bytes) -> bytes:
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise key_missing(key)
        try:
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise Tampered(
                f"a value encrypted with key {key!r} does not open: it was altered, belongs to another run, "
                f"or the key of this id is another one",
                key=key,
            ) from error

    def digest(self, data: bytes) -> str:
        return hashlib.blake2b(data, digest_size=16, key=self._digest_key).hexdigest()


def parse_keys(text: str, where: str) -> dict[str, bytes]:
    """`id:base64` pairs, separated by commas or lines; the first is the active one. `#` begins a comment.

    Raises `InvalidConfig` that names the variable or file, and never shows a key.
    """
    keys: dict[str, bytes] = {}
    lines = (line.partition("#")[0] for line in text.splitlines())
    for number, pair in enumerate((part.strip() for line in lines for part in line.split(",") if part.strip()), 1):
        name, colon, encoded = pair.partition(":")
        if not colon or not _KEY_ID.fullmatch(name):
            raise InvalidConfig(
                f"key {number} of {where} is not of the form id:base64, the id of letters, digits, . _ -"
            )
        try:
            key = b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise InvalidConfig(
                f"key {name!r} of {where} is not {KEY_BYTES} bytes in base64: `beluga keys new` prints one"
            )
        if name in keys:
            raise InvalidConfig(f"{where} has two keys with the id {name!r}: an id means one key for ever")
        keys[name] = key
    if not keys:
        raise InvalidConfig(f"{where} has no key: `beluga keys new` prints one")
    return keys


def new_key(name: str) -> str:
    """A random key as a line of a key file."""
    return f"{name}:{b64encode(os.urandom(KEY_BYTES)).decode()}"
