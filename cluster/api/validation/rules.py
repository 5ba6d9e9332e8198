"""
Rules that many kinds share: numbers, names, ports, addresses, percentages. Texts are upstream's.

Source: k8s.io/apimachinery, pkg/util/validation and pkg/api/validation.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError
from cluster.machinery.names import NameCheck
from cluster.machinery.objects import Object
from cluster.machinery.quantity import QuantityError, canonical, parse_quantity

Errors = list[FieldError]

NOT_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than 0"
IMMUTABLE = "field is immutable"
MAX_INT32 = 2**31 - 1

_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PERCENT = re.compile(r"[0-9]+%")
_PERCENT_FAULT = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)
_PORT_NAME_CHARACTERS = re.compile(r"[-a-z0-9]+")
_IP_FAULT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_FAULT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def mapping(holder: Object, key: str) -> Object:
    """A struct field; empty when absent."""
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def listed(holder: Object, key: str) -> list[Any]:
    """A list field; empty when absent."""
    value = holder.get(key)
    return value if isinstance(value, list) else []


def text(holder: Object, key: str) -> str:
    """A string field; empty when absent."""
    return holder.get(key) or ""


def named(path: str, value: str, check: NameCheck) -> Errors:
    return [field_errors.invalid(path, value, fault) for fault in check(value)]


def required_name(path: str, value: str, check: NameCheck, detail: str = "") -> Errors:
    return named(path, value, check) if value else [field_errors.required(path, detail)]


def not_negative(path: str, value: int | None) -> Errors:
    return [field_errors.invalid(path, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def positive(path: str, value: int | None) -> Errors:
    return [field_errors.invalid(path, value, POSITIVE)] if value is not None and value <= 0 else []


def within(path: str, value: int | None, low: int, high: int) -> Errors:
    if value is None or low <= value <= high:
        return []
    return [field_errors.invalid(path, value, f"must be between {low} and {high}, inclusive")]


def port_number(path: str, value: int) -> Errors:
    return within(path, value, 1, 65535)


def one_of(path: str, value: str | None, supported: Sequence[str]) -> Errors:
    """An enumeration whose absence is a fault as well: `Unsupported value: ""`."""
    return [] if value in supported else [field_errors.not_supported(path, value or "", supported)]


def required_one_of(path: str, value: str | None, supported: Sequence[str], detail: str = "") -> Errors:
    """An enumeration whose absence is told as `Required value`."""
    return one_of(path, value, supported) if value else [field_errors.required(path, detail)]


def immutable(path: str, new: Any, old: Any) -> Errors:
    return [] if (new or None) == (old or None) else [field_errors.invalid(path, new, IMMUTABLE)]


def duplicates(path: str, values: Iterable[tuple[int, Any]]) -> Errors:
    """`path[i]` for each value that came before; empty values do not count."""
    seen: set[Any] = set()
    errors = []
    for index, value in values:
        if value in seen:
            errors.append(field_errors.duplicate(f"{path}[{index}]", value))
        elif value:
            seen.add(value)
    return errors


def port_name(name: str) -> list[str]:
    """IANA service names: at most 15 characters with a letter among them."""
    faults = ["must be no more than 15 characters"] if len(name) > 15 else []
    if not _PORT_NAME_CHARACTERS.fullmatch(name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= character <= "z" for character in name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def config_key(key: str) -> list[str]:
    """Keys of ConfigMaps and Secrets: they become file names."""
    faults = ["must be no more than 253 bytes"] if len(key) > 253 else []
    if not _CONFIG_KEY.fullmatch(key):
        faults.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
            "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )
    if key == ".":
        faults.append("must not be '.'")
    elif key == "..":
        faults.append("must not be '..'")
    elif key.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def environment_name(name: str) -> list[str]:
    if not name:
        return ["environment variable name must be non-empty"]
    if name.isascii() and name.isprintable() and "=" not in name:
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_or_name(path: str, value: int | str | None) -> Errors:
    """A container port by number or by name, as probes and services name it."""
    if isinstance(value, str):
        return named(path, value, port_name)
    return port_number(path, value or 0)


def percent_or_number(path: str, value: int | str | None) -> Errors:
    """`25%` or a count that is not negative."""
    if isinstance(value, str):
        return [] if _PERCENT.fullmatch(value) else [field_errors.invalid(path, value, _PERCENT_FAULT)]
    return not_negative(path, value)


def not_over_all(path: str, value: int | str | None) -> Errors:
    """A percentage of at most 100."""
    if isinstance(value, str) and _PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        return [field_errors.invalid(path, value, "must not be greater than 100%")]
    return []


def as_count(value: int | str | None) -> int:
    """The number before the percent sign, or the number; 0 for what is neither."""
    if isinstance(value, str):
        return int(value[:-1]) if _PERCENT.fullmatch(value) else 0
    return value or 0


def ip_address(path: str, value: str) -> Errors:
    return [] if parsed_ip(value) else [field_errors.invalid(path, value, _IP_FAULT)]


def cidr(path: str, value: str) -> Errors:
    return [] if parsed_cidr(value) else [field_errors.invalid(path, value, _CIDR_FAULT)]


def parsed_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def parsed_cidr(value: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    """A network with its prefix length, whatever its host bits are."""
    if not re.fullmatch(r"[^/]+/\d{1,3}", value):
        return None
    try:
        return ipaddress.ip_interface(value)
    except ValueError:
        return None


def quantity(path: str, value: Any) -> tuple[Decimal, Errors]:
    """The amount, and what is wrong with its text (upstream refuses that while decoding)."""
    try:
        return parse_quantity(value), []
    except QuantityError as error:
        return Decimal(0), [field_errors.invalid(path, value, str(error))]


def not_negative_quantity(path: str, value: Any) -> Errors:
    amount, errors = quantity(path, value)
    return errors or ([field_errors.invalid(path, canonical(value), NOT_NEGATIVE)] if amount < 0 else [])


def positive_quantity(path: str, value: Any) -> Errors:
    amount, errors = quantity(path, value)
    return errors or (
        [field_errors.invalid(path, canonical(value), "must be greater than zero")] if amount <= 0 else []
    )


def each(path: str, entries: Iterable[Any], check: Callable[[str, Any], Errors]) -> Errors:
    """`check("path[i]", entry)` for every entry."""
    return [error for index, entry in enumerate(entries) for error in check(f"{path}[{index}]", entry)]
