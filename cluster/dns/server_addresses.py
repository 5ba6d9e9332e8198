"""Name servers as they are written in settings and on command lines. Pure."""

from ipaddress import ip_address

DNS_PORT = 53
Resolver = tuple[str, int]
"""IP address and port."""


def read_server(text: str) -> Resolver:
    """`192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`. Raises ValueError, which says nothing of use."""
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    number = int(port)
    if not 0 < number < 65536:
        raise ValueError(port)
    return str(ip_address(host)), number
