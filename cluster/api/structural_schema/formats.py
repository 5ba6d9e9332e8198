"""
The string formats a schema may name. Others say nothing about a value, as upstream has it.

Source: k8s.io/kube-openapi, pkg/validation/strfmt.
"""

import binascii
import datetime
import ipaddress
import re
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from cluster.machinery import names, timestamps

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DURATION = re.compile(
    r"(\d+(\.\d+)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|hours?|minutes?|seconds?|days?|weeks?|mins?|secs?|hrs?)"
)
_MAC = re.compile(
    r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){7}|([0-9A-Fa-f]{4}\.){2,3}[0-9A-Fa-f]{4}"
)
_HOST_PART = r"[a-zA-Z0-9\u0080-\uffff]([-_a-zA-Z0-9\u0080-\uffff]{0,61}[a-zA-Z0-9\u0080-\uffff])?"
_HOSTNAME = re.compile(rf"{_HOST_PART}(\.{_HOST_PART})*\.?")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_BYTE_PART = r"\s*(0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])\s*"
_RGB = re.compile(rf"rgb\({_BYTE_PART},{_BYTE_PART},{_BYTE_PART}\)")
_CARD = re.compile(r"4\d{12}(\d{3})?|(5[1-5]\d{4}|222[1-9]\d\d|22[3-9]\d{3}|2[3-6]\d{4}|27[01]\d{3}|2720\d\d)\d{10}|"
                   r"3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d)\d{12}")  # fmt: skip
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}")
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


def _tried(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a parser takes the text."""

    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _matched(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _tried(datetime.date.fromisoformat)(text)


def _uri(text: str) -> bool:
    """What Go's ParseRequestURI takes: absolute, or a rooted path."""
    if not text or any(c <= " " or c == "\x7f" for c in text):
        return False
    if text.startswith("/"):
        return True
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme) and (bool(parts.netloc) or bool(parts.path))


def _email(text: str) -> bool:
    from email.utils import parseaddr  # 5 ms that only who has such fields shall pay

    local, separator, domain = parseaddr(text)[1].rpartition("@")
    return bool(separator and local and domain) and not any(c.isspace() for c in local + domain)


def _hostname(text: str) -> bool:
    return len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None


def _byte(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uuid_of(version: int) -> Callable[[str], bool]:
    return lambda text: _UUID.fullmatch(text) is not None and uuid.UUID(text).version == version


def _isbn10(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"\d{9}[\dX]", digits):
        return False
    return sum((10 - at) * (10 if c == "X" else int(c)) for at, c in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"\d{13}", digits):
        return False
    return sum((3 if at % 2 else 1) * int(c) for at, c in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if not _CARD.fullmatch(digits):
        return False
    total = 0
    for at, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if at % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _matched(_OBJECT_ID),
    "uri": _uri,
    "email": _email,
    "hostname": _hostname,
    "ipv4": _tried(ipaddress.IPv4Address),
    "ipv6": _tried(ipaddress.IPv6Address),
    "cidr": _tried(lambda text: ipaddress.ip_interface(text) if "/" in text else int("no prefix")),
    "mac": _matched(_MAC),
    "uuid": _matched(_UUID),
    "uuid3": _uuid_of(3),
    "uuid4": _uuid_of(4),
    "uuid5": _uuid_of(5),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matched(_SSN),
    "hexcolor": _matched(_COLOR),
    "rgbcolor": _matched(_RGB),
    "byte": _byte,
    "password": lambda text: True,
    "date": _date,
    "duration": lambda text: _DURATION.fullmatch(text.strip()) is not None or _go_duration(text),
    "datetime": _tried(timestamps.parse_time),
    "k8s-short-name": lambda text: not names.dns_label(text),
    "k8s-long-name": lambda text: not names.dns_subdomain(text),
}
_GO_DURATION = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[+-]?0")


def _go_duration(text: str) -> bool:
    return _GO_DURATION.fullmatch(text) is not None


def _normal(name: str) -> str:
    """`date-time` and `datetime` are one format; those of upstream's own keep their dashes."""
    return name if name.startswith("k8s-") else name.replace("-", "")


def is_known(name: str) -> bool:
    return _normal(name) in _CHECKS


def fits(name: str, text: str) -> bool:
    """Whether a string has the format; every string has one that is not known."""
    check = _CHECKS.get(_normal(name))
    return check is None or check(text)
