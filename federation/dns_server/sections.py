"""Where the records of a message are, whatever they are. What lies about its lengths is refused. Pure."""

import struct

from cluster.dns.names import name_end
from cluster.dns.wire import HEADER, BadQuery, Rcode, read_question


def record_starts(data: bytes) -> list[int]:
    """
    Offset of each record behind the questions; the last one ends the message.

    Raises:
        BadQuery: FORMERR: there are not as many as the header says, or something follows them.
    """
    questions, *sections = struct.unpack_from("!HHHH", data, 4)
    offset = HEADER
    for _ in range(questions):
        offset = read_question(data, offset) + 4
    starts = []
    for _ in range(sum(sections)):
        starts.append(offset)
        offset = skip_name(data, offset)
        if offset + 10 > len(data):
            raise BadQuery(Rcode.FORMERR)
        offset += 10 + (data[offset + 8] << 8 | data[offset + 9])
    if offset != len(data):
        raise BadQuery(Rcode.FORMERR)
    return starts


def record_type(data: bytes, start: int) -> int:
    """Of a record that `record_starts` found."""
    offset = skip_name(data, start)
    return data[offset] << 8 | data[offset + 1]


def skip_name(data: bytes, offset: int) -> int:
    """Offset behind a name, which may be compressed. Raises BadQuery: FORMERR."""
    end = name_end(data, offset)
    if end is None:
        raise BadQuery(Rcode.FORMERR)
    return end
