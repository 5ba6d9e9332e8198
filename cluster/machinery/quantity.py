"""
Amounts of resources: `100m`, `1Gi`, `2e3`. Exact decimals inside, upstream's canonical text outside.

Source of the grammar: k8s.io/apimachinery, pkg/api/resource.
"""

import functools
import re
from decimal import ROUND_UP, Context, Decimal, localcontext
from typing import Any, NamedTuple

_GRAMMAR = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_SMALLEST = Decimal(1).scaleb(-9)
_CONTEXT = Context(prec=60)

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """The text is no quantity."""


class _Parsed(NamedTuple):
    value: Decimal
    form: str
    """`binary`, `decimal` or `exponent`: how it is written back."""


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> _Parsed:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise QuantityError(FORMAT_WRONG)
    with localcontext(_CONTEXT):
        number, suffix, exponent = Decimal(match["number"]), match["suffix"] or "", match["exponent"]
        if exponent is not None:
            if abs(int(exponent)) > 100:
                raise QuantityError(FORMAT_WRONG)
            value, form = number.scaleb(int(exponent)), "exponent"
        elif suffix in _BINARY:
            value, form = number * (1 << (10 * _BINARY[suffix])), "binary"
        else:
            value, form = number.scaleb(_DECIMAL[suffix]), "decimal"
        return _Parsed(value.quantize(_SMALLEST, rounding=ROUND_UP) if value % _SMALLEST else value, form)


def parse_quantity(amount: Any) -> Decimal:
    """
    The number that a quantity stands for; JSON numbers are quantities too.

    Raises QuantityError for anything else. What is finer than a billionth is rounded away from zero, as upstream does.
    """
    return _parse(_text(amount)).value


def _text(amount: Any) -> str:
    if isinstance(amount, str):
        return amount
    if isinstance(amount, int | float | Decimal) and not isinstance(amount, bool):
        return str(amount)
    raise QuantityError(FORMAT_WRONG)


def canonical(amount: Any) -> str:
    """The one way upstream writes this quantity, in its own notation: 1024Ki -> 1Mi, 0.5 -> 500m. Raises QuantityError."""
    value, form = _parse(_text(amount))
    return _written(value, form)


def format_quantity(value: Decimal | int, like: str = "0") -> str:
    """A number as a quantity, in the notation (binary, decimal, exponent) of the quantity `like`."""
    return _written(Decimal(value), _parse(like).form)


@functools.lru_cache(maxsize=4096)
def _written(value: Decimal, form: str) -> str:
    if value == 0:
        return "0"
    with localcontext(_CONTEXT):
        if form == "binary" and abs(value) >= 1024 and value == value.to_integral_value():
            return _binary_text(int(value))
        return _decimal_text(value, exponent_form=form == "exponent")


def _binary_text(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < 6:
        value //= 1024
        power += 1
    return f"{value}{next((suffix for suffix, p in _BINARY.items() if p == power), '')}"


def _decimal_text(value: Decimal, *, exponent_form: bool) -> str:
    power = -9
    scaled = int(value.scaleb(9).to_integral_value(rounding=ROUND_UP))
    while scaled % 1000 == 0 and (power < 18 or exponent_form):
        scaled //= 1000
        power += 3
    if exponent_form:
        return f"{scaled}e{power}" if power else str(scaled)
    return f"{scaled}{_DECIMAL_SUFFIX[power]}"
