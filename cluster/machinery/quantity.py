"""
Quantities: `100m`, `1.5Gi`, `2e3`. Exact, and written as upstream writes them.

Source: k8s.io/apimachinery, pkg/api/resource. A value finer than a nano is rounded away from zero, as upstream does.
"""

import functools
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Union

_SYNTAX = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)
_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_EXPONENTS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANOS = 10**9
_MAX_NANOS = (2**63 - 1) * _NANOS
_MAX_DIGITS = 4000
_SYNTAX_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

DECIMAL_SI = "DecimalSI"
BINARY_SI = "BinarySI"
DECIMAL_EXPONENT = "DecimalExponent"

Amount = Union["Quantity", str, int, float, Decimal]


class QuantityError(ValueError):
    """The text is not a quantity; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in nanos, exactly, and the family of suffixes to write it with."""

    nanos: int
    form: str = DECIMAL_SI

    @staticmethod
    def parse(value: Amount) -> "Quantity":
        """From its text or from a JSON number. Raises QuantityError."""
        if isinstance(value, Quantity):
            return value
        if isinstance(value, str):
            return _parse(value)
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
            raise QuantityError(_SYNTAX_TEXT)
        return _parse(repr(value) if not isinstance(value, Decimal) else str(value))

    def __add__(self, other: "Quantity") -> "Quantity":
        """The sum, written like the left one; a zero takes the other's form."""
        return Quantity(self.nanos + other.nanos, self.form if self.nanos else other.form)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos - other.nanos, self.form if self.nanos else other.form)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nanos, self.form)

    def __lt__(self, other: "Quantity") -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: "Quantity") -> bool:
        return self.nanos <= other.nanos

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __bool__(self) -> bool:
        return self.nanos != 0

    @property
    def value(self) -> int:
        """Whole units, rounded up: bytes of memory, a number of pods."""
        return -(-self.nanos // _NANOS)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up: millicores."""
        return -(-self.nanos // 10**6)

    @property
    def decimal(self) -> Decimal:
        return Decimal(self.nanos).scaleb(-9)

    def __str__(self) -> str:
        """The canonical text: no fraction, the largest suffix that allows it."""
        if not self.nanos:
            return "0"
        sign, nanos = ("-", -self.nanos) if self.nanos < 0 else ("", self.nanos)
        # Binary suffixes cannot say 1.5 or less than 1024, so upstream falls back to decimal ones there.
        if self.form == BINARY_SI and nanos >= 1024 * _NANOS and nanos % _NANOS == 0:
            return sign + _binary(nanos // _NANOS)
        return sign + _decimal(nanos, exponent_form=self.form == DECIMAL_EXPONENT)


def _binary(units: int) -> str:
    suffix = ""
    for name in _BINARY_EXPONENTS:
        if units % 1024:
            break
        units //= 1024
        suffix = name
    return f"{units}{suffix}"


def _decimal(nanos: int, *, exponent_form: bool) -> str:
    exponent = -9
    while nanos % 1000 == 0 and exponent < 18:
        nanos //= 1000
        exponent += 3
    if exponent_form:
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    return str(nanos) + next(name for name, value in _DECIMAL_EXPONENTS.items() if value == exponent)


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _SYNTAX.fullmatch(text)
    if match is None or not (match[2] or match[3]) or len(text) > _MAX_DIGITS:
        raise QuantityError(_SYNTAX_TEXT)
    sign, whole, fraction, suffix = match[1], match[2], match[3] or "", match[4] or ""
    form = DECIMAL_SI
    numerator, denominator = int(whole + fraction or "0"), 10 ** len(fraction)
    if suffix in _BINARY_EXPONENTS:
        form = BINARY_SI
        numerator <<= _BINARY_EXPONENTS[suffix]
    else:
        if suffix in _DECIMAL_EXPONENTS:
            exponent = _DECIMAL_EXPONENTS[suffix]
        else:
            form, exponent = DECIMAL_EXPONENT, int(suffix[1:])
            if abs(exponent) > _MAX_DIGITS:
                raise QuantityError("unable to parse quantity's suffix")
        numerator, denominator = numerator * 10 ** max(exponent, 0), denominator * 10 ** max(-exponent, 0)
    nanos = -(-numerator * _NANOS // denominator)
    nanos = min(nanos, _MAX_NANOS)
    return Quantity(-nanos if sign == "-" else nanos, form)


@functools.lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return str(_parse(text))


def canonical(value: str | int | float) -> str:
    """What the API answers for this input: `0.5` is `500m`. Raises QuantityError."""
    return _canonical(value) if isinstance(value, str) else str(Quantity.parse(value))


def parse_quantity(value: Amount) -> Decimal:
    """The amount alone. Raises QuantityError."""
    return Quantity.parse(value).decimal


def format_quantity(amount: Decimal, form: str = DECIMAL_SI) -> str:
    """The canonical text of an amount."""
    return str(Quantity(int(amount.scaleb(9).to_integral_value(rounding="ROUND_UP")), form))
