"""
TSIG keys in files, as `tsig-keygen` writes them and BIND reads them: `key "NAME" { algorithm A; secret "S"; };`.

Secrets come from files alone, and no error, log line or repr shows one.
"""

import base64
import binascii
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

ALGORITHMS = {"hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
"""TSIG's name -> hashlib's. MD5 and SHA-1 are left away."""
MIN_SECRET = 16  # bytes
MAX_FILE = 64 << 10  # bytes

_KEY = re.compile(r'key\s+"?([A-Za-z0-9._-]{1,253})"?\s*\{([^{}]*)\}\s*;', re.ASCII)
_ALGORITHM = re.compile(r'\balgorithm\s+"?([A-Za-z0-9.-]+)"?\s*;')
_SECRET = re.compile(r'\bsecret\s+"?([A-Za-z0-9+/=]+)"?\s*;')
_COMMENT = re.compile(r"(#|//)[^\n]*")


class KeyFileError(ValueError):
    """The file has no usable key. Says which file and what is wrong, never what is in it."""


@dataclass(frozen=True, slots=True)
class TsigSecret:
    name: str
    """Lower case, without a final dot."""
    algorithm: str
    """One of ALGORITHMS."""
    secret: bytes = field(repr=False)


def read_key_file(path: Path) -> tuple[TsigSecret, ...]:
    """
    Every key of the file, in its order.

    Raises:
        KeyFileError: it cannot be read, has no key, or one that is too weak or garbled.
    """
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise KeyFileError(f"cannot read the TSIG key file {path}: {why}") from None
    if len(text) > MAX_FILE:
        raise KeyFileError(f"{path} has {len(text)} bytes; a TSIG key file has at most {MAX_FILE}")
    found = [_read_key(path, *match.groups()) for match in _KEY.finditer(_COMMENT.sub("", text))]
    if not found:
        raise KeyFileError(f"{path} holds no TSIG key; `tsig-keygen NAME` prints one in the right form")
    return tuple(found)


def _read_key(path: Path, name: str, body: str) -> TsigSecret:
    algorithm, secret = _ALGORITHM.search(body), _SECRET.search(body)
    if algorithm is None or secret is None:
        raise KeyFileError(f"{path}: key {name} needs an algorithm and a secret")
    chosen = algorithm[1].lower().removesuffix(".")
    if chosen not in ALGORITHMS:
        raise KeyFileError(f"{path}: key {name} uses {chosen}; use one of {', '.join(ALGORITHMS)}")
    try:
        raw = base64.b64decode(secret[1], validate=True)
    except binascii.Error:
        raise KeyFileError(f"{path}: the secret of key {name} is not base64") from None
    if len(raw) < MIN_SECRET:
        raise KeyFileError(f"{path}: the secret of key {name} has {len(raw)} bytes; it needs at least {MIN_SECRET}")
    return TsigSecret(name.lower().rstrip("."), chosen, raw)


def write_new_key(path: Path, name: str) -> None:
    """A new random key, for its owner alone; a file that is there stays. Raises OSError."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    text = f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # unlike a rename, this never replaces a key that somebody uses
    except FileExistsError:
        return
    finally:
        beside.unlink(missing_ok=True)
