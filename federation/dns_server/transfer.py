"""
The whole zone, or what changed since a serial, as the messages of a transfer. Pure.

Source: RFC 5936 (AXFR), RFC 1995 (IXFR; §4: the form of differences, and when the whole zone goes instead).
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from cluster.dns.wire import HEADER, OPT_ANSWER, BadQuery, Rcode, Record, Type, encode_records, read_question
from federation.dns_server.history import Change, is_newer
from federation.dns_server.sections import skip_name

MAX_BODY = 12_000  # bytes of records a message: names can be pointed to in its first 16 KiB only
_RECORD = 16  # bytes of a record, beside its name and data, at most


class TransferRequest(NamedTuple):
    identity: bytes
    question: bytes
    zone: bytes
    """Lower case."""
    serial: int | None
    """IXFR: what the secondary has. None: it wants everything."""
    opt: bytes


def read_transfer(data: bytes) -> TransferRequest | None:
    """
    The request, if it is one for a transfer; it may have any additional records.

    Raises:
        BadQuery: FORMERR, an IXFR that does not say from where.
    """
    if len(data) < HEADER + 5 or data[2] & 0xF8 or data[4:6] != b"\0\1":
        return None
    end = read_question(data, HEADER)
    if len(data) < end + 4:
        return None
    rtype = data[end] << 8 | data[end + 1]
    if rtype not in (Type.AXFR, Type.IXFR) or data[end + 2 : end + 4] != b"\0\1":
        return None
    question = data[HEADER : end + 4]
    answers, authority, extra = struct.unpack_from("!HHH", data, 6)
    if answers or authority != (rtype == Type.IXFR):
        raise BadQuery(Rcode.FORMERR, b"", question)
    serial = _serial(data, end + 4) if authority else None
    opt = OPT_ANSWER if extra else b""
    return TransferRequest(data[:2], question, question[:-4].lower(), serial, opt)


def _serial(data: bytes, offset: int) -> int:
    """Of the SOA record that starts there."""
    offset = skip_name(data, offset)
    if len(data) < offset + 10 or data[offset : offset + 2] != bytes((0, Type.SOA)):
        raise BadQuery(Rcode.FORMERR)
    offset = skip_name(data, skip_name(data, offset + 10))
    if len(data) < offset + 20:
        raise BadQuery(Rcode.FORMERR)
    return int.from_bytes(data[offset : offset + 4], "big")


def is_current(request: TransferRequest, serial: int) -> bool:
    """Whether the secondary has all there is, or more: its IXFR is answered with our SOA alone."""
    return request.serial is not None and not is_newer(serial, request.serial)


def differences(soa: Record, changes: list[Change]) -> Iterable[Record]:
    """What an IXFR is answered with; each change starts with the SOA before it and has the one after it between."""
    return chain([soa], *(chain(change.deleted, change.added) for change in changes), [soa])


def size_of(changes: list[Change]) -> int:
    return sum(len(change.deleted) + len(change.added) for change in changes)


def messages(request: TransferRequest, records: Iterable[Record]) -> Iterator[bytes]:
    """The messages that carry the records; made one by one as they are asked for."""
    some: list[Record] = []
    size = 0
    for record in records:
        more = len(record.owner) + _RECORD + len(record.rdata)
        if some and size + more > MAX_BODY:
            yield _message(request, some)
            some, size = [], 0
        some.append(record)
        size += more
    yield _message(request, some)


def _message(request: TransferRequest, records: list[Record]) -> bytes:
    counts = struct.pack("!HHHH", 1, len(records), 0, bool(request.opt))
    body = encode_records(request.question[:-4].lower(), records)
    return b"".join((request.identity, b"\x84\0", counts, request.question, body, request.opt))
