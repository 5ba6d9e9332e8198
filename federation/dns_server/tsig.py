"""
Signatures on messages (TSIG): who may ask for the whole zone is proved by a shared key, once.

A signature is taken one time only. Whoever copies a signed request and sends it again inside its time window is
refused: signatures are remembered for as long as they would be good, and what was signed before the start, which
nobody remembers, is refused too.
Called by   federation.dns_server.responder (requests, answers) and .notify (the other way round).
Source: RFC 8945 (§5.2 order of the checks, §5.3 errors and streams).
"""

import hashlib
import hmac
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from cluster.dns.names import encode_name
from cluster.dns.wire import HEADER, BadQuery, Rcode, Type, read_question
from federation.dns.key_files import ALGORITHMS, TsigSecret
from federation.dns_server.sections import record_starts, record_type

FUDGE = 300  # seconds that clocks may differ
MAX_REMEMBERED = 20_000
"""Signatures a key; more requests than that in a window raise the time before which all are refused."""
CLASS_ANY = 255
_RR = struct.Struct("!HHIH")


class TsigError(IntEnum):
    BADSIG = 16
    BADKEY = 17
    BADTIME = 18
    BADTRUNC = 22


class Key(NamedTuple):
    name: bytes
    """Wire form, lower case; so is the algorithm's name."""
    algorithm: bytes
    digest: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


def key_of(secret: TsigSecret) -> Key:
    """Raises ValueError for a name that is no domain name."""
    raw, hashed = secret.secret, getattr(hashlib, ALGORITHMS[secret.algorithm])
    return Key(encode_name(secret.name), encode_name(secret.algorithm), lambda data: hmac.digest(raw, data, hashed))


class Tsig(NamedTuple):
    """A TSIG record as it was read, names in lower case."""

    name: bytes
    algorithm: bytes
    signed: int
    """Seconds since 1970."""
    fudge: int
    mac: bytes
    identity: bytes
    error: int
    other: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """A message whose signature is right, and what is needed to sign the answer."""

    message: bytes
    """Without the signature."""
    key: Key
    mac: bytes


class Refused(Exception):
    """
    The signature is not accepted. `response` goes back, with the code NOTAUTH; to a forger it carries no signature.
    """

    def __init__(self, error: TsigError, response: bytes) -> None:
        super().__init__(error.name)
        self.error = error
        self.response = response


class KeyRing:
    """The keys that are accepted, and what was signed with them lately."""

    def __init__(self, secrets: Iterable[TsigSecret], clock: Callable[[], float] = time.time) -> None:
        self._keys = {key.name: key for key in map(key_of, secrets)}
        self._clock = clock
        self._seen: dict[bytes, dict[bytes, int]] = {name: {} for name in self._keys}
        self._floor = dict.fromkeys(self._keys, int(clock()))
        """Signed at or before this, a request may be one that was accepted and forgotten."""

    @property
    def first(self) -> Key | None:
        return next(iter(self._keys.values()), None)

    def verify(self, data: bytes, at: int) -> Verified:
        """
        Check a request whose TSIG record starts at `at` (see `find_tsig`), and never accept it again.

        Raises:
            Refused: with what to answer.
            BadQuery: FORMERR, for a record that lies about its lengths.
        """
        tsig = read_tsig(data, at)
        now = int(self._clock())
        key = self._keys.get(tsig.name)
        if key is None or key.algorithm != tsig.algorithm:
            raise Refused(TsigError.BADKEY, _error(data, tsig, TsigError.BADKEY, now))
        bare = unsigned(data, at, tsig)
        right = key.digest(bare + variables(tsig))
        if len(tsig.mac) < max(10, len(right) // 2) or len(tsig.mac) > len(right):
            raise BadQuery(Rcode.FORMERR)
        if not hmac.compare_digest(tsig.mac, right[: len(tsig.mac)]):
            raise Refused(TsigError.BADSIG, _error(data, tsig, TsigError.BADSIG, now))
        if len(tsig.mac) < len(right):
            raise Refused(TsigError.BADTRUNC, _error(data, tsig, TsigError.BADTRUNC, now, key))
        if abs(now - tsig.signed) > min(tsig.fudge, FUDGE) or not self._is_new(key.name, tsig, now):
            raise Refused(TsigError.BADTIME, _error(data, tsig, TsigError.BADTIME, now, key))
        return Verified(bare, key, tsig.mac)

    def signer(self, verified: Verified) -> "Signer":
        """For the messages that answer it."""
        return Signer(verified.key, verified.mac, self._clock)

    def _is_new(self, name: bytes, tsig: Tsig, now: int) -> bool:
        seen = self._seen[name]
        if tsig.signed <= self._floor[name] or tsig.mac in seen:
            return False
        while seen:
            oldest = next(iter(seen))
            if len(seen) < MAX_REMEMBERED and seen[oldest] >= now - FUDGE:
                break
            self._floor[name] = max(self._floor[name], seen.pop(oldest))
        seen[tsig.mac] = tsig.signed
        return True


def find_tsig(data: bytes) -> int | None:
    """
    Where the last record starts, if that is a TSIG.

    Raises:
        BadQuery: FORMERR: the message is not what its counts say, or has a TSIG in the wrong place.
    """
    if len(data) < HEADER or data[10:12] == b"\0\0":
        return None
    *before, last = record_starts(data)
    if any(record_type(data, start) == Type.TSIG for start in before):
        raise BadQuery(Rcode.FORMERR)
    return last if record_type(data, last) == Type.TSIG else None


def read_tsig(data: bytes, at: int) -> Tsig:
    """Raises BadQuery: FORMERR. Its names may not be compressed (RFC 8945 §4.2)."""
    end = read_question(data, at)
    _, rclass, ttl, length = _RR.unpack_from(data, end)
    start = end + 10
    if rclass != CLASS_ANY or ttl or start + length != len(data):
        raise BadQuery(Rcode.FORMERR)
    offset = read_question(data, start)
    algorithm = data[start:offset].lower()
    if offset + 10 > len(data):
        raise BadQuery(Rcode.FORMERR)
    high, low, fudge, size = struct.unpack_from("!HIHH", data, offset)
    offset += 10
    if offset + size + 6 > len(data):
        raise BadQuery(Rcode.FORMERR)
    mac = data[offset : offset + size]
    offset += size
    error, rest = struct.unpack_from("!HH", data, offset + 2)
    if offset + 6 + rest != len(data):
        raise BadQuery(Rcode.FORMERR)
    identity = data[offset : offset + 2]
    return Tsig(data[at:end].lower(), algorithm, high << 32 | low, fudge, mac, identity, error, data[offset + 6 :])


def unsigned(data: bytes, at: int, tsig: Tsig) -> bytes:
    """The message as it was before it was signed."""
    extra = int.from_bytes(data[10:12], "big") - 1
    return tsig.identity + data[2:10] + extra.to_bytes(2, "big") + data[HEADER:at]


def variables(tsig: Tsig) -> bytes:
    """What of the record itself is signed."""
    head = tsig.name + struct.pack("!HI", CLASS_ANY, 0) + tsig.algorithm
    return head + timers(tsig.signed, tsig.fudge) + struct.pack("!HH", tsig.error, len(tsig.other)) + tsig.other


def timers(signed: int, fudge: int) -> bytes:
    return struct.pack("!HIH", signed >> 32, signed & 0xFFFFFFFF, fudge)


class Signer:
    """Signs a request (no `request_mac`), or the messages of one answer, each by way of the one before."""

    def __init__(self, key: Key, request_mac: bytes = b"", clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._before = request_mac
        self._first = True
        self._clock = clock
        self.mac = b""
        """Of the last message."""

    @property
    def size(self) -> int:
        """Bytes that a signature adds to a message."""
        return len(self._key.name) + len(self._key.algorithm) + 26 + len(self._key.digest(b""))

    def sign(self, message: bytes) -> bytes:
        tsig = Tsig(self._key.name, self._key.algorithm, int(self._clock()), FUDGE, b"", message[:2], 0, b"")
        before = len(self._before).to_bytes(2, "big") + self._before if self._before else b""
        rest = variables(tsig) if self._first else timers(tsig.signed, tsig.fudge)
        self.mac = self._before = self._key.digest(before + message + rest)
        self._first = False
        return append(message, tsig._replace(mac=self.mac))


def append(message: bytes, tsig: Tsig) -> bytes:
    rdata = b"".join((
        tsig.algorithm, timers(tsig.signed, tsig.fudge), len(tsig.mac).to_bytes(2, "big"), tsig.mac, tsig.identity,
        struct.pack("!HH", tsig.error, len(tsig.other)), tsig.other,
    ))  # fmt: skip
    extra = int.from_bytes(message[10:12], "big") + 1
    record = tsig.name + _RR.pack(Type.TSIG, CLASS_ANY, 0, len(rdata)) + rdata
    return message[:10] + extra.to_bytes(2, "big") + message[HEADER:] + record


def answers_request(data: bytes, key: Key, request_mac: bytes, now: float) -> bool:
    """Whether a message is signed with the key as the answer to our request. Raises BadQuery for garbage."""
    at = find_tsig(data)
    if at is None:
        return False
    tsig = read_tsig(data, at)
    if (tsig.name, tsig.algorithm) != (key.name, key.algorithm) or abs(int(now) - tsig.signed) > min(tsig.fudge, FUDGE):
        return False
    before = len(request_mac).to_bytes(2, "big") + request_mac
    return hmac.compare_digest(tsig.mac, key.digest(before + unsigned(data, at, tsig) + variables(tsig)))


def _error(data: bytes, tsig: Tsig, error: TsigError, now: int, key: Key | None = None) -> bytes:
    """The answer to a request that is not accepted; with the key when whoever asks has proved to have it."""
    questions = 1 if data[4:6] == b"\0\1" else 0
    question = data[HEADER : read_question(data, HEADER) + 4] if questions else b""
    head = bytes((0x80 | data[2] & 0x79, Rcode.NOTAUTH)) + struct.pack("!HHHH", questions, 0, 0, 0)
    message = tsig.identity + head + question
    other = struct.pack("!HI", now >> 32, now & 0xFFFFFFFF) if error is TsigError.BADTIME else b""
    told = tsig._replace(fudge=FUDGE, mac=b"", error=error, other=other)
    if key is None:
        return append(message, told)
    before = len(tsig.mac).to_bytes(2, "big") + tsig.mac
    return append(message, told._replace(mac=key.digest(before + message + variables(told))))
