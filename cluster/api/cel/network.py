"""
URLs, IP addresses and networks.

Source: k8s.io/apiserver, pkg/cel/library/urls.go, ip.go, cidr.go.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from cluster.api.cel.values import EvaluationError, Opaque, no_overload

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Url(Opaque):
    text: str
    type_name: ClassVar[str] = "kubernetes.URL"


@dataclass(frozen=True, slots=True)
class Ip(Opaque):
    address: _Address
    type_name: ClassVar[str] = "net.IP"

    @property
    def text(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr(Opaque):
    address: _Address
    length: int
    type_name: ClassVar[str] = "net.CIDR"

    @property
    def text(self) -> str:
        return f"{self.address}/{self.length}"

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(self.text, strict=False)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise no_overload()
    return value


def _url(value: Any) -> Url:
    text = _text(value)
    fault = ""
    if _CONTROL.search(text):
        fault = "net/url: invalid control character in URL"
    elif not _SCHEME.match(text) and not text.startswith("/"):
        fault = "invalid URI for request" if text else "empty url"
    else:
        try:
            parts = urlsplit(text)
            _ = parts.port
            fault = 'invalid character " " in host name' if " " in parts.netloc else ""
        except ValueError:
            fault = f'invalid port ":{urlsplit(text).netloc.rpartition(":")[2]}" after host'
    if fault:
        raise EvaluationError(f'URL parse error during conversion from string: parse "{text}": {fault}')
    return Url(text)


def _url_part(read: Callable[[Any], str]) -> Callable[[Url], str]:
    def get(url: Url) -> str:
        if not isinstance(url, Url):
            raise no_overload()
        return read(urlsplit(url.text))

    return get


def _query(url: Url) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url.text).query, keep_blank_values=True)


def _hostname(parts: Any) -> str:
    host = parts.netloc.rpartition("@")[2]
    if host.startswith("["):
        return str(host[1:].partition("]")[0])
    return str(host.partition(":")[0])


def _ip_text(text: str) -> Ip:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        why = f'ParseAddr("{text}"): unable to parse IP'
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: {why}') from None
    if getattr(address, "scope_id", None):
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Ip(address)


def _ip(value: Any) -> Ip:
    return Ip(value.address) if isinstance(value, Cidr) else _ip_text(_text(value))


def _cidr(value: Any) -> Cidr:
    text = _text(value)
    address, slash, length = text.partition("/")
    try:
        if not slash or not re.fullmatch(r"0|[1-9]\d{0,2}", length):
            raise ValueError
        found = _ip_text(address).address
        if int(length) > found.max_prefixlen:
            raise ValueError
    except ValueError:
        raise EvaluationError(
            f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): no prefix'
            if not slash
            else f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): bad prefix'
        ) from None
    return Cidr(found, int(length))


def _contains_ip(cidr: Cidr, other: Any) -> bool:
    address = other.address if isinstance(other, Ip) else _ip_text(_text(other)).address
    return address.version == cidr.address.version and address in cidr.network


def _contains_cidr(cidr: Cidr, other: Any) -> bool:
    inner = other if isinstance(other, Cidr) else _cidr(other)
    if inner.address.version != cidr.address.version:
        return False
    return inner.length >= cidr.length and inner.address in cidr.network


def _is(parse: Callable[[Any], object]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        text = _text(value)
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return check


def _of_ip(read: Callable[[_Address], bool]) -> Callable[[Ip], bool]:
    return lambda ip: read(ip.address)


def _is_global(address: _Address) -> bool:
    broadcast = isinstance(address, ipaddress.IPv4Address) and int(address) == 2**32 - 1
    return not (
        broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )


def _is_local_group(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in _LOCAL_GROUPS
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


_LOCAL_GROUPS = ipaddress.ip_network("224.0.0.0/24")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "url": _url,
    "isURL": _is(_url),
    "getScheme": _url_part(lambda parts: str(parts.scheme)),
    "getHost": _url_part(lambda parts: str(parts.netloc.rpartition("@")[2])),
    "getHostname": _url_part(_hostname),
    "getPort": _url_part(lambda parts: str(parts.port if parts.port is not None else "")),
    "getEscapedPath": _url_part(lambda parts: quote(parts.path, safe="/%:@!$&'()*+,;=~")),
    "getQuery": _query,
    "ip": _ip,
    "isIP": _is(_ip_text),
    "ip.isCanonical": lambda text: _ip_text(_text(text)).text == text,
    "family": lambda ip: ip.address.version,
    "isUnspecified": _of_ip(lambda address: address.is_unspecified),
    "isLoopback": _of_ip(lambda address: address.is_loopback),
    "isLinkLocalMulticast": _of_ip(_is_local_group),
    "isLinkLocalUnicast": _of_ip(lambda address: address.is_link_local),
    "isGlobalUnicast": _of_ip(_is_global),
    "cidr": _cidr,
    "isCIDR": _is(_cidr),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "masked": lambda cidr: Cidr(cidr.network.network_address, cidr.length),
    "prefixLength": lambda cidr: cidr.length,
}
DECLARED = """
url(string) kubernetes.URL
isURL(string) bool
kubernetes.URL.getScheme() string
kubernetes.URL.getHost() string
kubernetes.URL.getHostname() string
kubernetes.URL.getPort() string
kubernetes.URL.getEscapedPath() string
kubernetes.URL.getQuery() map<string,list<string>>
ip(string) net.IP
isIP(string) bool
ip.isCanonical(string) bool
net.IP.family() int
net.IP.isUnspecified() bool
net.IP.isLoopback() bool
net.IP.isLinkLocalMulticast() bool
net.IP.isLinkLocalUnicast() bool
net.IP.isGlobalUnicast() bool
string(net.IP) string
cidr(string) net.CIDR
isCIDR(string) bool
net.CIDR.containsIP(string) bool
net.CIDR.containsIP(net.IP) bool
net.CIDR.containsCIDR(string) bool
net.CIDR.containsCIDR(net.CIDR) bool
net.CIDR.ip() net.IP
net.CIDR.masked() net.CIDR
net.CIDR.prefixLength() int
string(net.CIDR) string
"""
