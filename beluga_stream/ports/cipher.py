"""What encrypts users' values, so that only holders of the keys can read them."""

from typing import Protocol


class Cipher(Protocol):
    """Authenticated encryption under several keys, each with an id. New values take the active one."""

    @property
    def active(self) -> str:
        """The id of the key that new values are encrypted with."""

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """Encrypt with the active key. It opens only together with the same `bound`, which stays readable."""

    def decrypt(self, key: str, data: bytes, bound: bytes) -> bytes:
        """Open what was encrypted with this key. Raises `KeyMissing` and `Tampered`."""

    def digest(self, data: bytes) -> str:
        """A hash that nobody without the keys can compute, and that a new active key does not change."""
