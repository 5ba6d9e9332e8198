"""
Request heads as bytes: which are plain enough to be answered at the door, and where requests end in a stream.

Pure. Everything here is stricter than aiohttp's parser: what it does not take is no error, it is left to that parser.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.apiserver.negotiation import View, negotiate
from cluster.machinery.status_errors import ApiError

HEAD_LIMIT = 8190
"""Bytes of a head that is looked at here."""
KNOWN_HEADS = 1024
_END = b"\r\n\r\n"
_TARGET = re.compile(rb"GET (/[!\"$-~]*) HTTP/1\.1")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~]*?)[ \t]*")
_WRITE = re.compile(rb"(POST|PUT|PATCH|DELETE) (/[!\"$-~]*) HTTP/1\.1\r\n")
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,10})[ \t]*(?=\r\n|$)")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*(?=\r\n)", re.IGNORECASE)
# What makes a request more than a plain one: an unknown body, another protocol, another user.
_UNUSUAL = re.compile(
    rb"content-length|transfer-encoding|expect|upgrade|te|trailer|http2-settings|impersonate-.*|sec-websocket-.*"
)
_ONCE = frozenset([b"authorization", b"accept", b"host", b"connection", b"content-type", b"user-agent"])
_KEPT = ((b"accept", "Accept"), (b"content-type", "Content-Type"), (b"user-agent", "User-Agent"))


@dataclass(frozen=True, slots=True)
class Plain:
    """What the header lines of a plain request say. `token` is the bearer token's SHA-256, None without one."""

    token: bytes | None
    view: View
    headers: Mapping[str, str]
    """Those that say what is sent and wanted, and by which program; without the token."""


@dataclass(frozen=True, slots=True)
class WriteHead:
    """The head of a request with a body of known length."""

    method: str
    target: bytes
    block: bytes
    """Header lines without the length: a client's are the same each time."""
    end: int
    """Bytes up to the body."""
    length: int
    """Bytes of the body."""


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """(target, header lines) when the data are exactly one head of a GET, else None."""
    if len(data) > HEAD_LIMIT or not data.startswith(b"GET /") or data.find(_END) != len(data) - 4:
        return None
    line, _, block = data.partition(b"\r\n")
    found = _TARGET.fullmatch(line)
    return None if found is None else (found[1], block)


def split_write(data: bytes, limit: int) -> WriteHead | None:
    """
    The head of one write, when the data are that and nothing behind its body; some of the body may be missing.

    Args:
        limit: the longest body that is looked at, in bytes.
    """
    found = _WRITE.match(data)
    end = data.find(_END, 0, HEAD_LIMIT) + 4
    if found is None or end < 4:
        return None
    first = found.end() - 2
    said = _LENGTH_LINE.search(data, first, end)
    if said is not None:
        length = int(said[1])
        block = data[first + 2 : said.start() + 2] + data[said.end() + 2 : end]
    elif found[1] == b"DELETE":
        length, block = 0, data[first + 2 : end]
    else:
        return None
    if length > limit or len(data) > end + length:
        return None
    return WriteHead(found[1].decode(), found[2], block, end, length)


def read_headers(block: bytes) -> Plain | None:
    """None for a block that is malformed, or asks for anything but a plain read in JSON."""
    seen: dict[bytes, bytes] = {}
    lines = block.removesuffix(_END).split(b"\r\n")
    if len(lines) > 64:
        return None
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            return None
        name = found[1].lower()
        if _UNUSUAL.fullmatch(name) or (name in _ONCE and name in seen):
            return None
        seen[name] = found[2]
    if seen.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    token = None
    if (authorization := seen.get(b"authorization")) is not None:
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not text.strip():
            return None
        token = hashlib.sha256(text.strip()).digest()
    try:
        view = negotiate(seen.get(b"accept", b"").decode("ascii"))
    except ApiError:
        return None
    if view.yaml:
        return None
    return Plain(token, view, {name: seen[key].decode("ascii") for key, name in _KEPT if key in seen})


class KnownHeaders:
    """Header lines that were read before: a client's are the same each time. Kept by digest, for they hold tokens."""

    def __init__(self) -> None:
        self._known: dict[bytes, Plain | None] = {}

    def read(self, block: bytes) -> Plain | None:
        digest = hashlib.sha256(block).digest()
        try:
            return self._known[digest]
        except KeyError:
            if len(self._known) >= KNOWN_HEADS:
                self._known.clear()
            found = self._known[digest] = read_headers(block)
            return found


class Boundary:
    """
    Whether all that went to aiohttp's parser was whole requests, so that the next byte begins a new one.

    Only then may the door look at it: the middle of a request could look like the beginning of another.
    """

    __slots__ = ("_rest", "known")

    def __init__(self) -> None:
        self._rest = 0
        """Bytes of a body that are still to come."""
        self.known = True
        """False once it cannot be told; it is never found out again."""

    @property
    def reached(self) -> bool:
        return self.known and self._rest == 0

    def passed(self, data: bytes) -> None:
        """These bytes went on to the parser."""
        if not self.known or not data:
            return
        if self._rest:
            self._rest -= len(data)
        else:
            end = data.find(_END)
            length = body_length(data[:end]) if end >= 0 else None
            if length is None:
                self.known = False
                return
            self._rest = end + 4 + length - len(data)
        if self._rest < 0:
            self.known = False


def body_length(head: bytes) -> int | None:
    """Bytes of the body behind this head (without its empty line); None when it is not plainly told."""
    if not head.startswith(_METHODS) or not head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n"):
        return None
    lines = head.lower()
    if b"\r\n " in lines or b"\r\n\t" in lines or b"\nexpect" in lines or b"\nupgrade" in lines:
        return None
    if b"\ntransfer-encoding" in lines:
        return None
    said = lines.count(b"\ncontent-length")
    if said == 0:
        return 0
    found = _LENGTH.search(lines)
    return int(found[1]) if said == 1 and found is not None else None
