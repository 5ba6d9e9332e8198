"""
Seal a stream so that nobody reads or changes it without the key, and a part of it is not taken for the whole.

The file is `HANSE-SNAPSHOT-2\\n`, 8 random bytes, then pieces: 4 bytes of length and AES-256-GCM of up to 1 MiB. A
piece's nonce is those 8 bytes and its number; its additional data says whether it is the last. What the pieces hold is
4 bytes of length, the label in JSON, then the snapshot.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from provisioner.state import write_atomically

MAGIC = b"HANSE-SNAPSHOT-2\n"
PIECE = 1 << 20
_LENGTH = struct.Struct(">I")
_NUMBER = struct.Struct(">I")
_TAG = 16
_MORE, _LAST = b"more", b"last"


class SealError(ValueError):
    """The file is no snapshot of ours, of another key, changed, or cut short. The message says which."""


@dataclass(frozen=True, slots=True)
class SnapshotLabel:
    """What a snapshot is of, sealed with it."""

    cluster: str
    revision: int
    objects: int
    """Keys of etcd at that revision."""
    taken: str
    """RFC 3339."""


def ensure_key(path: Path) -> bytes:
    """32 bytes, made when there are none."""
    if not path.exists():
        write_atomically(path, AESGCM.generate_key(256), mode=0o600)
    return path.read_bytes()


def sealed(pieces: Iterable[bytes], key: bytes, label: SnapshotLabel) -> Iterator[bytes]:
    """The file's bytes, part by part."""
    prefix, cipher = os.urandom(8), AESGCM(key)
    yield MAGIC + prefix
    told = json.dumps(asdict(label)).encode()
    held = _LENGTH.pack(len(told)) + told
    number = 0
    for piece in pieces:
        held += piece
        while len(held) > PIECE:
            yield _seal(cipher, prefix, number, held[:PIECE], _MORE)
            held, number = held[PIECE:], number + 1
    yield _seal(cipher, prefix, number, held, _LAST)


def _seal(cipher: AESGCM, prefix: bytes, number: int, piece: bytes, place: bytes) -> bytes:
    data = cipher.encrypt(prefix + _NUMBER.pack(number), piece, place)
    return _LENGTH.pack(len(data)) + data


def opened(path: Path, key: bytes) -> Iterator[bytes]:
    """The snapshot, piece by piece; each is whole and unchanged when it is handed out. Raises SealError."""
    pieces = _pieces(path, key)
    _, rest = _parted(path, next(pieces))
    yield rest
    yield from pieces


def label_of(path: Path, key: bytes) -> SnapshotLabel:
    """What it is of. Reads its beginning alone. Raises SealError."""
    label, _ = _parted(path, next(_pieces(path, key)))
    return label


def _parted(path: Path, first: bytes) -> tuple[SnapshotLabel, bytes]:
    (length,) = _LENGTH.unpack(first[: _LENGTH.size])
    end = _LENGTH.size + length
    try:
        return SnapshotLabel(**json.loads(first[_LENGTH.size : end])), first[end:]
    except (ValueError, TypeError) as error:
        raise SealError(f"{path.name} has no label: it was written by another release") from error


def _pieces(path: Path, key: bytes) -> Iterator[bytes]:
    cipher = AESGCM(key)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise SealError(f"{path.name} is no sealed snapshot")
        prefix, number = file.read(8), 0
        data = _next(file.read(_LENGTH.size), file, path)
        while True:
            header = file.read(_LENGTH.size)
            place = _MORE if header else _LAST
            try:
                yield cipher.decrypt(prefix + _NUMBER.pack(number), data, place)
            except InvalidTag as error:
                raise SealError(
                    f"{path.name} does not open: it was changed or cut short, or sealed with another key, as another "
                    "cluster's are"
                ) from error
            if not header:
                return
            data, number = _next(header, file, path), number + 1


def _next(header: bytes, file: BinaryIO, path: Path) -> bytes:
    if len(header) != _LENGTH.size:
        raise SealError(f"{path.name} is cut short")
    (length,) = _LENGTH.unpack(header)
    if not _TAG <= length <= PIECE + _TAG:
        raise SealError(f"{path.name} is damaged: a piece of {length} bytes")
    data = file.read(length)
    if len(data) != length:
        raise SealError(f"{path.name} is cut short")
    return data
