"""The client's network that a resolver passes on (RFC 7871, option 8): read strictly, sent back with its scope."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cluster.dns.wire import MAX_UDP_EDNS, BadQuery, Rcode, Type

OPTION = 8
MOST_BITS = {1: 24, 2: 56}
"""More of an address than this is nobody's business (RFC 7871 §11.1)."""
_SIZES = {1: 4, 2: 16}


class ClientSubnet(NamedTuple):
    family: int
    source: int
    """Prefix length that the resolver gave."""
    given: bytes
    """The address as far as the prefix goes."""

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """Zero behind the bits that are used."""
        size = _SIZES[self.family]
        bits = min(self.source, MOST_BITS[self.family])
        number = int.from_bytes(self.given.ljust(size, b"\0"), "big") >> (size * 8 - bits) << (size * 8 - bits)
        return IPv4Address(number) if self.family == 1 else IPv6Address(number)

    def option(self, *, tailored: bool) -> bytes:
        """The OPT record of the answer. Scope 0 says that the answer is good for everybody."""
        scope = min(self.source, MOST_BITS[self.family]) if tailored else 0
        data = struct.pack("!HBB", self.family, self.source, scope) + self.given
        head = struct.pack("!BHHBBHH", 0, Type.OPT, MAX_UDP_EDNS, 0, 0, 0, len(data) + 4)
        return head + struct.pack("!HH", OPTION, len(data)) + data


def read_client_subnet(options: bytes) -> ClientSubnet | None:
    """
    Find it among the OPT record's options; source length 0 (privacy) and none at all both give None.

    Raises:
        BadQuery: FORMERR, for options that lie about their length and addresses that do not fit their prefix.
    """
    offset = 0
    while offset < len(options):
        if offset + 4 > len(options):
            raise BadQuery(Rcode.FORMERR)
        code, size = struct.unpack_from("!HH", options, offset)
        data = options[offset + 4 : offset + 4 + size]
        if len(data) != size:
            raise BadQuery(Rcode.FORMERR)
        offset += 4 + size
        if code == OPTION:
            return _read(data)
    return None


def _read(data: bytes) -> ClientSubnet | None:
    if len(data) < 4:
        raise BadQuery(Rcode.FORMERR)
    family, source, scope = struct.unpack_from("!HBB", data)
    given = data[4:]
    if family not in _SIZES or scope or source > _SIZES[family] * 8 or len(given) != (source + 7) // 8:
        raise BadQuery(Rcode.FORMERR)
    if source % 8 and given[-1] & (0xFF >> source % 8):
        raise BadQuery(Rcode.FORMERR)
    return ClientSubnet(family, source, given) if source else None
