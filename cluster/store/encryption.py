"""
Values sealed at rest: what etcd holds of chosen kinds is encrypted, in the form that upstream reads and writes.

A stored value says in its head who can open it: `k8s:enc:secretbox:v1:KEYNAME:`. The first provider of a kind writes,
all of them read; what the first key did not write is stale and is sealed anew by the next write, a no-op included.
Without configuration nothing here is loaded.

Called by   object_store (both ways) and watch_cache (reading), at the border to etcd.
Not here    the configuration file (encryption_config.py).
Source: k8s.io/apiserver, pkg/storage/value.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.machinery.status_errors import InternalError
from cluster.store.encoding import Entry
from cluster.store.keys import kind_of_place

ENCRYPTED_HEAD = b"k8s:enc:"
_SECRETBOX_NONCE, _SECRETBOX_TAG = 24, 16
_GCM_NONCE, _GCM_TAG = 12, 16
_AES_BLOCK = 16


class UnreadableError(InternalError):
    """A value that no configured key opens. Remedy: give the key it was sealed with; the object is still there."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f'Internal error occurred: unable to transform key "{key}": {why}')
        self.key = key


class OpenError(Exception):
    """This provider cannot open this value; another one may."""


class Cipher(Protocol):
    """One key of one provider. `context` is the etcd key, which some bind to the value."""

    def seal(self, plain: bytes, context: bytes) -> bytes: ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises OpenError."""


class Secretbox:
    """XSalsa20-Poly1305, the nonce in front."""

    def __init__(self, key: bytes) -> None:
        from nacl.bindings import crypto_secretbox, crypto_secretbox_open
        from nacl.exceptions import CryptoError

        self._key, self._seal, self._open, self._fault = key, crypto_secretbox, crypto_secretbox_open, CryptoError

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_SECRETBOX_NONCE)
        return nonce + self._seal(plain, nonce, self._key)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if len(sealed) < _SECRETBOX_NONCE + _SECRETBOX_TAG:
            raise OpenError("the stored data was shorter than the required size")
        try:
            return self._open(sealed[_SECRETBOX_NONCE:], sealed[:_SECRETBOX_NONCE], self._key)
        except self._fault:
            raise OpenError("output array was not large enough for encryption") from None  # upstream's words


class AesGcm:
    """AES-GCM, a random nonce in front; bound to the etcd key, so a value copied to another name does not open."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_GCM_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _GCM_NONCE + _GCM_TAG:
            raise OpenError("the stored data was shorter than the required size")
        try:
            return self._cipher.decrypt(sealed[:_GCM_NONCE], sealed[_GCM_NONCE:], context)
        except InvalidTag:
            raise OpenError("cipher: message authentication failed") from None


class AesCbc:
    """AES-CBC with PKCS#7 padding, the initialization vector in front. Not authenticated: for reading old stores."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self._algorithm = AES(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher, modes

        vector = os.urandom(_AES_BLOCK)
        missing = _AES_BLOCK - len(plain) % _AES_BLOCK
        worker = BlockCipher(self._algorithm, modes.CBC(vector)).encryptor()
        return vector + worker.update(plain + bytes([missing]) * missing) + worker.finalize()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher, modes

        if len(sealed) < 2 * _AES_BLOCK:
            raise OpenError("the stored data was shorter than the required size")
        if len(sealed) % _AES_BLOCK:
            raise OpenError("the stored data is not a multiple of the block size")
        worker = BlockCipher(self._algorithm, modes.CBC(sealed[:_AES_BLOCK])).decryptor()
        padded = worker.update(sealed[_AES_BLOCK:]) + worker.finalize()
        missing = padded[-1]
        if not 1 <= missing <= _AES_BLOCK or padded[-missing:] != bytes([missing]) * missing:
            raise OpenError("invalid padding on input")
        return padded[:-missing]


class Identity:
    """No encryption; refuses what is encrypted, so that a provider behind it gets its turn."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return plain

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if sealed.startswith(ENCRYPTED_HEAD):
            raise OpenError("identity transformer tried to read encrypted data")
        return sealed


@dataclass(frozen=True, slots=True)
class Key:
    head: bytes
    """What its values begin with; empty for identity."""
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class Provider:
    head: bytes
    """`k8s:enc:aescbc:v1:`; empty for identity."""
    title: str
    """As upstream's messages call it."""
    keys: tuple[Key, ...]
    """The first writes."""


class Opened:
    """A value as it is, and whether it is to be sealed anew when next written."""

    __slots__ = ("plain", "stale")

    def __init__(self, plain: bytes, stale: bool) -> None:
        self.plain = plain
        self.stale = stale


class Chain:
    """The providers of one kind, in order."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = tuple(providers)
        self._first = providers[0].keys[0]

    def seal(self, plain: bytes, key: bytes) -> bytes:
        return self._first.head + self._first.cipher.seal(plain, key)

    def open(self, value: bytes, key: bytes) -> Opened:
        """Raises UnreadableError, which names the object and never what is in it."""
        faults = []
        for number, provider in enumerate(self._providers):
            if not value.startswith(provider.head):
                continue
            fitting = [(at, one) for at, one in enumerate(provider.keys) if value.startswith(one.head)]
            for at, one in fitting:
                try:
                    return Opened(one.cipher.open(value[len(one.head) :], key), number > 0 or at > 0)
                except OpenError as fault:
                    if provider.head:
                        faults.append(str(fault))
            if not fitting:
                faults.append(f"no matching key was found for the provided {provider.title} transformer")
        raise UnreadableError(key.decode(errors="replace"), _reduced(faults) or "no matching prefix found")


def _reduced(faults: Sequence[str]) -> str:
    """Several faults as upstream aggregates them."""
    different = list(dict.fromkeys(faults))
    return different[0] if len(different) < 2 and different else f"[{', '.join(different)}]" if different else ""


_PLAIN = Chain([Provider(b"", "Identity", (Key(b"", Identity()),))])
"""A kind that the configuration does not name: values are plain, and sealed ones are an error, not garbage."""


def plain_entry(key: bytes, value: bytes, revision: int) -> Entry:
    """What a store without encryption makes of a value. Raises UnreadableError for one that is sealed or broken."""
    try:
        return Entry(value, revision)
    except ValueError as fault:
        sealed = value.startswith(ENCRYPTED_HEAD)
        why = "identity transformer tried to read encrypted data" if sealed else f"it holds no JSON object: {fault}"
        raise UnreadableError(key.decode(errors="replace"), why) from None


class Sealing:
    """Which chain a place has. `use` changes it while running; `on_change` is told."""

    def __init__(self, chains: Mapping[str, Chain]) -> None:
        """`chains` by `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group) or `*.*`."""
        self._chains = dict(chains)
        self._of_place: dict[str, Chain] = {}
        self._watchers: list[Callable[[], None]] = []

    def use(self, chains: Mapping[str, Chain]) -> None:
        self._chains = dict(chains)
        self._of_place.clear()
        for tell in self._watchers:
            tell()

    def on_change(self, tell: Callable[[], None]) -> None:
        self._watchers.append(tell)

    def seal(self, place_name: str, key: bytes, plain: bytes) -> bytes:
        return self._chain(place_name).seal(plain, key)

    def open(self, place_name: str, key: bytes, value: bytes) -> Opened:
        """Raises UnreadableError."""
        return self._chain(place_name).open(value, key)

    def entry(self, place_name: str, key: bytes, value: bytes, revision: int) -> Entry:
        """What a cache keeps of a stored value. Raises UnreadableError."""
        return plain_entry(key, self.open(place_name, key, value).plain, revision)

    def _chain(self, place_name: str) -> Chain:
        found = self._of_place.get(place_name)
        if found is None:
            plural, group = kind_of_place(place_name)
            for name in (f"{plural}.{group}" if group else plural, f"*.{group}", "*.*"):
                if name in self._chains:
                    found = self._chains[name]
                    break
            found = self._of_place[place_name] = found or _PLAIN
        return found
