"""
Quantities and semantic versions.

Source: k8s.io/apiserver, pkg/cel/library/quantity.go and semverlib.go; semver.org.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from cluster.api.cel.values import INT_MAX, INT_MIN, EvaluationError, Opaque, no_overload
from cluster.machinery.quantity import QuantityError, parse_quantity

_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@dataclass(frozen=True, slots=True)
class QuantityValue(Opaque):
    amount: Decimal
    type_name: ClassVar[str] = "kubernetes.Quantity"

    def order(self) -> tuple[Any, ...]:
        return (self.amount,)


@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    numbers: tuple[int, int, int]
    before: tuple[str, ...]
    """The pre-release's parts; none for a release."""
    type_name: ClassVar[str] = "kubernetes.Semver"

    def order(self) -> tuple[Any, ...]:
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.before)
        return self.numbers, not self.before, parts


def _quantity(text: Any) -> QuantityValue:
    if not isinstance(text, str):
        raise no_overload()
    try:
        return QuantityValue(parse_quantity(text))
    except QuantityError as fault:
        raise EvaluationError(str(fault)) from None


def _semver(text: Any, normalize: bool = False) -> Semver:
    if not isinstance(text, str):
        raise no_overload()
    found = _VERSION.fullmatch(_normalized(text) if normalize else text)
    if found is None or any(part.isdigit() and part != "0" and part[0] == "0" for part in (found[4] or "").split(".")):
        raise EvaluationError("No Major.Minor.Patch elements found" if text.count(".") < 2 else
                              f"Invalid character(s) found in version {text!r}")  # fmt: skip
    return Semver((int(found[1]), int(found[2]), int(found[3])), tuple(found[4].split(".")) if found[4] else ())


def _normalized(text: str) -> str:
    """Without the `v`, with three numbers, none of which begins with a zero."""
    core, mark, rest = text.removeprefix("v"), "", ""
    if found := re.search(r"[-+]", core):
        core, mark, rest = core[: found.start()], found.group(), core[found.end() :]
    numbers = [part.lstrip("0") or "0" if part.isdigit() else part for part in core.split(".")]
    return ".".join(numbers + ["0"] * (3 - len(numbers))) + mark + rest


def _is(parse: Callable[..., object]) -> Callable[..., bool]:
    def check(*args: Any) -> bool:
        try:
            parse(*args)
        except EvaluationError as fault:
            if str(fault) == "no such overload":
                raise
            return False
        return True

    return check


def _difference(left: Any, right: Any) -> int:
    if type(left) is not type(right) or not isinstance(left, (QuantityValue, Semver)):
        raise no_overload()
    first, second = (one.order() for one in (left, right))
    return 1 if first > second else -1 if first < second else 0


def _amount(value: Any) -> Decimal:
    if isinstance(value, QuantityValue):
        return value.amount
    if type(value) is int:
        return Decimal(value)
    raise no_overload()


def _is_integer(value: QuantityValue) -> bool:
    return (
        value.amount == value.amount.to_integral_value() and INT_MIN < value.amount < INT_MAX
    )  # beyond, it was cut off there


def _as_integer(value: QuantityValue) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return int(value.amount)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": _quantity,
    "isQuantity": _is(_quantity),
    "sign": lambda value: (value.amount > 0) - (value.amount < 0),
    "isInteger": _is_integer,
    "asInteger": _as_integer,
    "asApproximateFloat": lambda value: float(value.amount),
    "add": lambda left, right: QuantityValue(_amount(left) + _amount(right)),
    "sub": lambda left, right: QuantityValue(_amount(left) - _amount(right)),
    "isGreaterThan": lambda left, right: _difference(left, right) > 0,
    "isLessThan": lambda left, right: _difference(left, right) < 0,
    "compareTo": _difference,
    "semver": _semver,
    "isSemver": _is(_semver),
    "major": lambda value: value.numbers[0],
    "minor": lambda value: value.numbers[1],
    "patch": lambda value: value.numbers[2],
}
_COMPARED = "\n".join(
    f"{kind}.{name}({kind}) {result}"
    for kind in ("kubernetes.Quantity", "kubernetes.Semver")
    for name, result in (("isGreaterThan", "bool"), ("isLessThan", "bool"), ("compareTo", "int"))
)
DECLARED = f"""
quantity(string) kubernetes.Quantity
isQuantity(string) bool
kubernetes.Quantity.sign() int
kubernetes.Quantity.isInteger() bool
kubernetes.Quantity.asInteger() int
kubernetes.Quantity.asApproximateFloat() double
kubernetes.Quantity.add(kubernetes.Quantity) kubernetes.Quantity
kubernetes.Quantity.add(int) kubernetes.Quantity
kubernetes.Quantity.sub(kubernetes.Quantity) kubernetes.Quantity
kubernetes.Quantity.sub(int) kubernetes.Quantity
semver(string) kubernetes.Semver
semver(string,bool) kubernetes.Semver
isSemver(string) bool
isSemver(string,bool) bool
kubernetes.Semver.major() int
kubernetes.Semver.minor() int
kubernetes.Semver.patch() int
{_COMPARED}
"""
