"""
DNS messages as bytes: reading a query safely, and building answers that are spliced, not encoded, when they are sent.

A compiled answer holds everything after the question; to send it, the ID and the question in the client's own
spelling are put in front (`Answer.message`). Nothing here knows what Kubernetes is.
Source: RFC 1035, 2308 (negative answers), 2782 (SRV), 6891 (EDNS), 8482 (ANY).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from cluster.dns.names import MAX_LABEL, MAX_NAME


class Type(IntEnum):
    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    NOTAUTH = 9


CLASS_IN = 1
HEADER = 12
MAX_UDP_PLAIN = 512  # bytes, RFC 1035
MAX_UDP_EDNS = 1232  # bytes: fits an IPv6 minimum MTU unfragmented; dnsflagday.net/2020
BADVERS_HIGH = 1  # upper bits of extended rcode 16

_NO_EXTRA = b"\x00\x01\x00\x00\x00\x00\x00\x00"
_ONE_EXTRA = b"\x00\x01\x00\x00\x00\x00\x00\x01"
OPT_ANSWER = struct.pack("!BHHBBHH", 0, Type.OPT, MAX_UDP_EDNS, 0, 0, 0, 0)
"""EDNS in an answer, when the client wants nothing special of it."""
_OPT_DO = struct.pack("!BHHBBHH", 0, Type.OPT, MAX_UDP_EDNS, 0, 0, 0x8000, 0)
_OPT_BADVERS = struct.pack("!BHHBBHH", 0, Type.OPT, MAX_UDP_EDNS, BADVERS_HIGH, 0, 0, 0)
_RR = struct.Struct("!HHIH")
_HEADER = struct.Struct("!HBBHHHH")


class Record(NamedTuple):
    """One resource record; `owner` in wire form, `rdata` without compression."""

    owner: bytes
    type: int
    ttl: int
    """Seconds."""
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query for one name."""

    name: bytes
    """Lower case."""
    type: int
    key: bytes
    """Lower-cased question section: what answers are looked up by."""
    question: bytes
    """Question section as the client spelled it; goes back unchanged."""
    identity: bytes
    recursion_desired: int
    checking_disabled: int
    payload: int
    """Bytes that fit into a UDP answer."""
    opt: bytes
    """The OPT record that belongs into the answer; empty without EDNS."""


class BadQuery(Exception):
    """The packet gets this rcode, or nothing at all when `rcode` is None (an answer, or too short to answer)."""

    def __init__(self, rcode: Rcode | None, opt: bytes = b"", question: bytes = b"") -> None:
        super().__init__(rcode)
        self.rcode = rcode
        self.opt = opt
        self.question = question
        """The question section, if that much could be read; goes back, or clients would not know the answer."""


def read_question(data: bytes, offset: int) -> int:
    """
    Offset just behind the name that starts at `offset`; compression has no place in a question.

    Raises:
        BadQuery: FORMERR.
    """
    start = offset
    size = len(data)
    while True:
        if offset >= size:
            raise BadQuery(Rcode.FORMERR)
        length = data[offset]
        if length == 0:
            break
        if length > MAX_LABEL:
            raise BadQuery(Rcode.FORMERR)
        offset += 1 + length
        if offset - start >= MAX_NAME:
            raise BadQuery(Rcode.FORMERR)
    return offset + 1


def parse_query(data: bytes) -> Query:
    """
    Read any packet that claims to be a query.

    Raises:
        BadQuery: says what to answer, if anything.
    """
    if len(data) < HEADER or data[2] & 0x80:
        raise BadQuery(None)
    if data[2] & 0x78:
        raise BadQuery(Rcode.NOTIMP)
    counts = data[4:12]
    if counts not in (_NO_EXTRA, _ONE_EXTRA):
        raise BadQuery(Rcode.FORMERR)
    end = read_question(data, HEADER) + 4
    if end > len(data):
        raise BadQuery(Rcode.FORMERR)
    payload, opt = MAX_UDP_PLAIN, b""
    if counts == _ONE_EXTRA:
        payload, opt = _read_opt(data, end)
    elif len(data) != end:
        raise BadQuery(Rcode.FORMERR)
    question = data[HEADER:end]
    name = question[:-4].lower()
    qtype, qclass = struct.unpack("!HH", question[-4:])
    if qclass != CLASS_IN or qtype in (Type.AXFR, Type.IXFR, Type.OPT):
        raise BadQuery(Rcode.REFUSED, opt, question)
    return Query(
        name, qtype, name + question[-4:], question, data[:2], data[2] & 1, data[3] & 0x10, payload, opt
    )  # fmt: skip


def _read_opt(data: bytes, offset: int) -> tuple[int, bytes]:
    """(payload bytes, OPT for the answer) of the one additional record, which has to be an OPT that ends the packet."""
    if len(data) < offset + 11 or data[offset] != 0:
        raise BadQuery(Rcode.FORMERR)
    rtype, size, _, version, flags, length = struct.unpack_from("!HHBBHH", data, offset + 1)
    if rtype != Type.OPT or offset + 11 + length != len(data):
        raise BadQuery(Rcode.FORMERR)
    if version != 0:
        raise BadQuery(Rcode.NOERROR, _OPT_BADVERS, data[HEADER:offset])
    return max(MAX_UDP_PLAIN, min(size, MAX_UDP_EDNS)), _OPT_DO if flags & 0x8000 else OPT_ANSWER


def refusal(data: bytes, bad: BadQuery) -> bytes | None:
    """The answer without records to a bad query; None: stay silent."""
    if bad.rcode is None:
        return None
    flags = 0x80 | (data[2] & 0x79)
    counts = struct.pack("!HHHH", bool(bad.question), 0, 0, bool(bad.opt))
    return data[:2] + bytes((flags, bad.rcode)) + counts + bad.question + bad.opt


class Answer:
    """
    Everything that follows the question, in one or more rotations of the records, ready to be spliced.

    Args:
        rcode: what to say.
        answers, authority, extra: the sections. `question_name` is what pointers to the question stand for.
        authoritative: sets AA.
        recursive: sets RA.
    """

    __slots__ = (
        "_authoritative", "_heads", "_heads_opt", "_recursive", "_sections", "_shortened", "_turn",
        "bodies", "leads_outside", "longest", "question_name", "rcode",
    )  # fmt: skip

    def __init__(
        self,
        question_name: bytes,
        rcode: Rcode,
        answers: Sequence[Record] = (),
        authority: Sequence[Record] = (),
        extra: Sequence[Record] = (),
        *,
        authoritative: bool = True,
        recursive: bool = True,
        leads_outside: bool = False,
    ) -> None:
        self.leads_outside = leads_outside
        """The last record is a CNAME whose target somebody else has to resolve."""
        self.question_name = question_name
        self.rcode = rcode
        self._sections = (tuple(answers), tuple(authority), tuple(extra))
        self._authoritative = authoritative
        self._recursive = recursive
        self._shortened: dict[int, Answer] = {}
        """Room in bytes -> the answer with what fits: to find it takes as long as a thousand splices."""
        flags = 0x84 if authoritative else 0x80
        available = 0x80 if recursive else 0
        counts = (len(answers), len(authority), len(extra))
        self._heads = _heads(flags, available | rcode, counts)
        self._heads_opt = _heads(flags, available | rcode, (counts[0], counts[1], counts[2] + 1))
        self.bodies = tuple(
            encode_records(question_name, [*rotated, *authority, *extra]) for rotated in _rotations(tuple(answers))
        )
        self.longest = max(len(body) for body in self.bodies)
        self._turn = 0

    @property
    def answers(self) -> tuple[Record, ...]:
        return self._sections[0]

    def message(self, identity: bytes, flags: int, question: bytes, opt: bytes) -> bytes:
        """The whole message. `flags`: 1 with RD set, 2 with CD set."""
        bodies = self.bodies
        if len(bodies) > 1:
            self._turn = turn = (self._turn + 1) % len(bodies)
            body = bodies[turn]
        else:
            body = bodies[0]
        head = self._heads_opt[flags] if opt else self._heads[flags]
        return b"".join((identity, head, question, body, opt))

    def truncated(self, query: Query) -> bytes:
        """What fits into a UDP packet, with TC set: some resolvers (musl) never ask again over TCP."""
        # Few sizes, so that few shortened answers have to be kept, whatever sizes clients think of.
        payload = query.payload if query.payload >= MAX_UDP_EDNS else query.payload & ~127
        room = payload - HEADER - len(query.question) - len(query.opt)
        short = self._shortened.get(room)
        if short is None:
            short = self._shortened[room] = self._shorten(room)
        message = bytearray(short.message(query.identity, query_flags(query), query.question, query.opt))
        message[2] |= 0x02
        return bytes(message)

    def _shorten(self, room: int) -> "Answer":
        """The same with as many records as have `room` bytes behind the question."""
        answers, authority, _ = self._sections
        kept: list[Record] = []
        for record in answers:
            if len(encode_records(self.question_name, [*kept, record])) > room:
                break
            kept.append(record)
        rest = list(authority) if not answers else []
        if len(encode_records(self.question_name, kept + rest)) > room:
            rest = []
        return Answer(
            self.question_name, self.rcode, kept, rest, authoritative=self._authoritative, recursive=self._recursive
        )


def query_flags(query: Query) -> int:
    return query.recursion_desired | (query.checking_disabled >> 3)


def _heads(flags: int, second: int, counts: tuple[int, int, int]) -> tuple[bytes, ...]:
    """Bytes 2 to 12 of the message for (RD, CD) = 00, 10, 01, 11; `second`: RA and rcode."""
    tail = struct.pack("!HHHH", 1, *counts)
    return tuple(
        bytes((flags | (variant & 1), ((variant & 2) << 3) | second)) + tail for variant in range(4)
    )  # fmt: skip


MAX_ROTATIONS = 8


def _rotations(records: tuple[Record, ...]) -> list[tuple[Record, ...]]:
    """Orders to take turns with, so that clients which use the first address spread; a CNAME chain keeps its order."""
    if len(records) < 2 or any(record.type == Type.CNAME for record in records):
        return [records]
    count = min(len(records), MAX_ROTATIONS)
    step = len(records) / count
    return [records[(cut := int(i * step)) :] + records[:cut] for i in range(count)]


def encode_records(question_name: bytes, records: Iterable[Record]) -> bytes:
    """Records with their owner names compressed against the question's name (at offset 12) and each other."""
    known: dict[bytes, int] = {}
    _remember(known, question_name, HEADER)
    out = bytearray()
    base = HEADER + len(question_name) + 4
    for owner, rtype, ttl, rdata in records:
        _put_name(out, owner, base, known)
        out += _RR.pack(rtype, CLASS_IN, ttl, len(rdata))
        if rtype == Type.CNAME:
            _remember(known, rdata, base + len(out))
        out += rdata
    return bytes(out)


def _remember(known: dict[bytes, int], name: bytes, offset: int) -> None:
    while name[0] and offset < 0x4000:
        known.setdefault(name, offset)
        step = 1 + name[0]
        name, offset = name[step:], offset + step


def _put_name(out: bytearray, name: bytes, base: int, known: dict[bytes, int]) -> None:
    while name[0]:
        pointer = known.get(name)
        if pointer is not None:
            out += struct.pack("!H", 0xC000 | pointer)
            return
        offset = base + len(out)
        if offset < 0x4000:
            known[name] = offset
        step = 1 + name[0]
        out += name[:step]
        name = name[step:]
    out.append(0)


def srv_rdata(port: int, target: bytes, *, priority: int = 0, weight: int = 100) -> bytes:
    return struct.pack("!HHH", priority, weight, port) + target


def txt_rdata(text: str) -> bytes:
    raw = text.encode()
    return bytes((len(raw),)) + raw


def soa_rdata(
    primary: bytes, contact: bytes, *, serial: int, minimum: int, times: tuple[int, int, int] = (7200, 1800, 86400)
) -> bytes:
    """`minimum`: seconds that a negative answer may be kept. `times`, for secondaries: refresh, retry, expire."""
    return primary + contact + struct.pack("!IIIII", serial, *times, minimum)


ANY_HINFO = txt_rdata("RFC8482") + txt_rdata("")


def build_query(identity: int, name: bytes, qtype: int, *, payload: int = MAX_UDP_EDNS) -> bytes:
    """A recursive query with EDNS, as the forwarder sends it."""
    opt = struct.pack("!BHHIH", 0, Type.OPT, payload, 0, 0)
    return _HEADER.pack(identity, 1, 0, 1, 0, 0, 1) + name + struct.pack("!HH", qtype, CLASS_IN) + opt
