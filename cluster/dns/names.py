"""
Domain names as they are on the wire: length-prefixed labels, closed by the empty one, lower case.

Everything in this package passes names around in this form; text appears at the edges only.
"""

from ipaddress import IPv4Address, IPv4Network

ROOT = b"\x00"
MAX_NAME = 255  # bytes on the wire, RFC 1035 §2.3.4
MAX_LABEL = 63


def encode_name(text: str) -> bytes:
    """
    `kube-dns.kube-system.svc.cluster.local` (final dot optional) -> wire form, lower case.

    Raises:
        ValueError: a label is empty or too long, or the name is; it cannot be a domain name.
    """
    stripped = text.rstrip(".")
    if not stripped:
        return ROOT
    out = bytearray()
    for label in stripped.lower().split("."):
        raw = label.encode("ascii")
        if not 1 <= len(raw) <= MAX_LABEL:
            raise ValueError(
                f"{text!r} is not a domain name: a label has {len(raw)} bytes, 1 to {MAX_LABEL} are allowed"
            )
        out.append(len(raw))
        out += raw
    out.append(0)
    if len(out) > MAX_NAME:
        raise ValueError(f"{text!r} is not a domain name: it has {len(out)} bytes, {MAX_NAME} are allowed")
    return bytes(out)


def encode_labels(*labels: bytes) -> bytes:
    """Labels one after the other, without an end: to be put in front of a name."""
    return b"".join(bytes((len(label),)) + label for label in labels)


def name_end(data: bytes, offset: int) -> int | None:
    """Offset behind a name inside of a message, which may end in a pointer; None: it is cut off, or no name."""
    end = min(len(data), offset + MAX_NAME)
    while offset < end:
        length = data[offset]
        if length & 0xC0 == 0xC0:
            return offset + 2
        if length & 0xC0:
            return None
        offset += 1 + length
        if not length:
            return offset
    return None


def split_name(name: bytes) -> list[bytes]:
    """The labels of a valid wire name, without the root."""
    labels = []
    position = 0
    while length := name[position]:
        labels.append(name[position + 1 : position + 1 + length])
        position += 1 + length
    return labels


def parent(name: bytes) -> bytes:
    """The name without its first label; the root's parent is the root."""
    return name[1 + name[0] :] if name[0] else name


def is_below(name: bytes, zone: bytes) -> bool:
    """Whether `name` is `zone` or inside it; both wire form and lower case."""
    if not name.endswith(zone):
        return False
    # "xcluster.local" ends with the bytes of "…cluster.local" only if a length byte agrees: walk the labels.
    position = 0
    wanted = len(name) - len(zone)
    while position < wanted:
        position += 1 + name[position]
    return position == wanted


def reverse_name(address: str) -> bytes:
    """`10.96.0.1` -> 1.0.96.10.in-addr.arpa."""
    return encode_name(IPv4Address(address).reverse_pointer)


def reverse_zone(network: str) -> bytes:
    """The smallest in-addr.arpa zone, on a byte border, that holds the network: 10.96.0.0/12 -> 10.in-addr.arpa."""
    parsed = IPv4Network(network)
    labels = str(parsed.network_address).split(".")[: parsed.prefixlen // 8]
    return encode_name(".".join([*reversed(labels), "in-addr", "arpa"]))
