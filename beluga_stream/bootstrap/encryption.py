"""Keys from the settings, and the payloads that use them."""

from importlib.util import find_spec

from ..adapters.files.blobs import FileBlobs
from ..application.payloads import Payloads
from ..errors import InvalidConfig
from ..ports.cipher import Cipher
from .settings import Settings

_VARIABLE, _FILE_VARIABLE = "BELUGA_ENCRYPTION_KEYS", "BELUGA_ENCRYPTION_KEY_FILE"


def payloads_of(settings: Settings, *, shows_sealed: bool = False) -> Payloads:
    """Values as these settings keep them. Raises `InvalidConfig` for keys that are none."""
    return Payloads(FileBlobs(settings.blobs), cipher=cipher_of(settings), shows_sealed=shows_sealed)


def cipher_of(settings: Settings) -> Cipher | None:
    """None without keys. Raises `InvalidConfig`."""
    given, file = settings.encryption_keys, settings.encryption_key_file
    if given is None and file is None:
        return None
    if given is not None and file is not None:
        raise InvalidConfig(f"{_VARIABLE} and {_FILE_VARIABLE} are both set: keep the file")
    _check_installed()
    from ..adapters.crypto.aesgcm import AesGcm, parse_keys  # noqa: PLC0415 - its package is an optional extra

    if given is not None:
        return AesGcm(parse_keys(given.get_secret_value(), _VARIABLE))
    assert file is not None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"the file of {_FILE_VARIABLE}, {file}, cannot be read: {error}") from error
    return AesGcm(parse_keys(text, str(file)))


def new_line(name: str) -> str:
    """A new key as a line of a key file. Raises `InvalidConfig`."""
    _check_installed()
    from ..adapters.crypto.aesgcm import new_key, parse_keys  # noqa: PLC0415 - its package is an optional extra

    line = new_key(name)
    parse_keys(line, "--id")
    return line


def _check_installed() -> None:
    if find_spec("cryptography") is None:
        raise InvalidConfig("encryption needs the package cryptography: pip install 'beluga-stream[encryption]'")
