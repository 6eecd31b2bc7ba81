"""Sealed values: the header that says which key, and what a seal is bound to. docs/wire.md has the format.

A value is bound to the run that owns it: moved to another run it does not open.
"""

from ..errors import InvalidInput, KeyMissing
from ..ports.cipher import Cipher

MARK = b"\0beluga\1"
"""Begins every sealed value, and no JSON."""


def seal(cipher: Cipher, data: bytes, owner: str) -> bytes:
    """Mark, length and letters of the key's id, ciphertext."""
    key = cipher.active.encode()
    header = MARK + bytes([len(key)]) + key
    return header + cipher.encrypt(data, header + owner.encode())


def is_sealed(data: bytes) -> bool:
    return data.startswith(MARK)


def key_of(sealed: bytes) -> str:
    """The id of the key that it was sealed with. Raises `InvalidInput` for what is no sealed value."""
    return _header(sealed)[0]


def unseal(cipher: Cipher | None, sealed: bytes, owner: str) -> bytes:
    """Raises `KeyMissing`, `Tampered`, and `InvalidInput` for what is no sealed value."""
    key, header = _header(sealed)
    if cipher is None:
        raise key_missing(key)
    return cipher.decrypt(key, sealed[len(header) :], header + owner.encode())


def key_missing(key: str) -> KeyMissing:
    return KeyMissing(
        f"a value is encrypted with key {key!r}, which this process does not have: "
        f"add it to BELUGA_ENCRYPTION_KEY_FILE; see docs/security.md",
        key=key,
    )


def _header(sealed: bytes) -> tuple[str, bytes]:
    begin = len(MARK) + 1
    end = begin + sealed[begin - 1] if len(sealed) >= begin else 0
    if not sealed.startswith(MARK) or len(sealed) <= end:
        raise InvalidInput("a value that should be encrypted is not: was it put there by somebody else?")
    return sealed[begin:end].decode("utf-8", "replace"), sealed[:end]
