"""
Header blocks (HPACK) with a dynamic table of size zero. Pure.

Both directions are then free of state: a request's block is a constant per method, and an answer's block that was
decoded once is found again by its bytes. Source: RFC 7541.
"""

from collections.abc import Sequence

from cluster.machinery.grpc.errors import ProtocolError

Headers = dict[str, str]

MAX_BLOCK = 65_536
"""Bytes of one header list, as announced to the other side."""

_COMPRESSION_ERROR = 0x9
_KNOWN_BLOCKS = 256
_KNOWN_SIZE = 512

# RFC 7541 appendix A.
_STATIC: tuple[tuple[str, str], ...] = (
    ("", ""), (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip

# RFC 7541 appendix B: how many bits the code of each octet has, A for 5 to Z for 30; the last one ends a string.
# The code is canonical: among codes of one length the order is that of the octets.
_CODE_LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABC"
    "BAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQ"
    "RQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
_END_OF_STRING = 256


def _huffman_codes() -> dict[tuple[int, int], int]:
    """(length, code) to octet."""
    lengths = [ord(letter) - ord("A") + 5 for letter in _CODE_LENGTHS]
    codes: dict[tuple[int, int], int] = {}
    code, before = 0, 0
    for octet in sorted(range(len(lengths)), key=lambda octet: (lengths[octet], octet)):
        code <<= lengths[octet] - before
        before = lengths[octet]
        codes[before, code] = octet
        code += 1
    return codes


_HUFFMAN = _huffman_codes()


def _broken(why: str) -> ProtocolError:
    return ProtocolError(_COMPRESSION_ERROR, f"a header block is not valid: {why}")


def _from_huffman(data: bytes) -> bytes:
    text = bytearray()
    length = code = 0
    for octet in data:
        for shift in range(7, -1, -1):
            code = code << 1 | octet >> shift & 1
            length += 1
            if length < 5:
                continue
            found = _HUFFMAN.get((length, code))
            if found is not None:
                if found == _END_OF_STRING:
                    raise _broken("it holds the end-of-string code")
                text.append(found)
                length = code = 0
            elif length > 30:
                raise _broken("it holds an unknown code")
    # What is left over is padding: the first bits of the end-of-string code, which are ones.
    if length > 7 or code != (1 << length) - 1:
        raise _broken("its padding is wrong")
    return bytes(text)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The number whose first bits are the low `bits` of the octet at `at`, and where what follows begins."""
    if at >= len(block):
        raise _broken("it ends too early")
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            raise _broken("it ends inside a number")
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if not octet & 0x80:
            return value, at
    raise _broken("a number is too large")


def _string(block: bytes, at: int) -> tuple[str, int]:
    length, start = _integer(block, at, 7)
    stop = start + length
    if stop > len(block):
        raise _broken("it ends inside a string")
    raw = block[start:stop]
    # Not all values are ASCII: a status message may hold any octet, which is no reason to drop it.
    return (_from_huffman(raw) if block[at] & 0x80 else raw).decode("utf-8", "replace"), stop


def _static(index: int) -> tuple[str, str]:
    if not 0 < index < len(_STATIC):
        raise _broken(f"it names entry {index}, and there is no dynamic table")
    return _STATIC[index]


def decode(block: bytes) -> Headers:
    """
    Names and values; of a name that comes twice the last one. Raises ProtocolError.
    """
    if len(block) > MAX_BLOCK:
        raise _broken(f"its {len(block)} bytes are more than {MAX_BLOCK}")
    headers: Headers = {}
    at, size = 0, 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            name, value = _static(index)
        elif first & 0x60 == 0x20:
            if headers:
                raise _broken("it changes the table's size in its middle")
            table, at = _integer(block, at, 5)
            if table:
                raise _broken(f"it wants a table of {table} bytes, and none is allowed")
            continue
        else:
            # With or without the wish to be indexed, which a table of size zero never grants.
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            if index:
                name = _static(index)[0]
            else:
                name, at = _string(block, at)
            value, at = _string(block, at)
        size += len(name) + len(value) + 32
        if size > MAX_BLOCK:
            raise _broken(f"it unfolds to more than {MAX_BLOCK} bytes")
        headers[name] = value
    return headers


class HeaderDecoder:
    """`decode` that remembers: a server answers with very few different blocks."""

    def __init__(self) -> None:
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The result is shared; nobody may change it. Raises ProtocolError."""
        found = self._known.get(block)
        if found is None:
            found = decode(block)
            if len(block) <= _KNOWN_SIZE:
                if len(self._known) >= _KNOWN_BLOCKS:
                    self._known.clear()
                self._known[block] = found
        return found


def _length(value: int) -> bytes:
    if value < 0x7F:
        return bytes((value,))
    rest, out = value - 0x7F, bytearray((0x7F,))
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _literal(text: str) -> bytes:
    raw = text.encode()
    return _length(len(raw)) + raw


def request_block(path: str, authority: str, *, secure: bool, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
    """The block of a gRPC call. It begins by giving up the dynamic table, whatever the other side would allow."""
    block = bytearray(b"\x20\x83")  # table size 0; :method POST
    block += b"\x87" if secure else b"\x86"  # :scheme
    block += b"\x04" + _literal(path)
    block += b"\x01" + _literal(authority)
    for name, value in (("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "hanse"), *metadata):
        block += b"\x00" + _literal(name) + _literal(value)
    return bytes(block)
