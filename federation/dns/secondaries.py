"""Other name servers that follow the federation's zone, as they are written on command lines. Pure."""

from dataclasses import dataclass

from cluster.dns.names import encode_name
from cluster.dns.server_addresses import DNS_PORT, read_server


@dataclass(frozen=True, slots=True)
class Secondary:
    address: str
    port: int = DNS_PORT
    name: str = ""
    """What it is called in the zone's NS records; empty: it is not among them."""

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def read_secondary(text: str) -> Secondary:
    """
    `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`, each with `ns2.example.com=` in front or not.

    Raises ValueError, which says what is wrong.
    """
    name, found, rest = text.rpartition("=")
    try:
        address, number = read_server(rest)
    except ValueError:
        raise ValueError(
            f"{text!r} is not [NAME=]ADDRESS[:PORT], e.g. 192.0.2.1 or ns2.example.com=[2001:db8::1]:53"
        ) from None
    if found:
        if not name:
            raise ValueError(f"{text!r} has no name in front of the equals sign")
        encode_name(name)
    return Secondary(address, number, name.rstrip(".").lower())
