"""
Values of the expression language that Python has no type for, and how values compare.

null, bool, int, float, str, bytes, list and dict are themselves. Objects of the API are used as they are, unchanged
and uncopied. Source: the language's specification, doc/langdef.md; k8s.io/apiserver, pkg/cel.
"""

import datetime
from dataclasses import dataclass, field
from typing import Any, ClassVar

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
NANOS = 1_000_000_000
TIME_MIN, TIME_MAX = -62_135_596_800 * NANOS, 253_402_300_800 * NANOS - 1


class CelError(ValueError):
    """An expression has no result; the text is upstream's."""


class CompileError(ValueError):
    """A text is no expression of its environment. Has the engine's words, with place and excerpt, as upstream's."""


class EvaluationError(CelError):
    """The values do not fit. `&&`, `||` and the macros may absorb it."""


class CostExceededError(CelError):
    """Evaluation was too expensive and was given up."""


class OutOfTimeError(CostExceededError):
    """Likewise, by the clock: the costs would still have allowed it."""


class Uint(int):
    """An unsigned number: equal to the signed one, but of another type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nanos: int
    """Since 1970 in UTC."""

    def moment(self, zone: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
        whole = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return (whole + datetime.timedelta(microseconds=self.nanos // 1000)).astimezone(zone)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanos: int


@dataclass(frozen=True, slots=True)
class CelType:
    """What `type(x)` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """An optional value."""

    value: Any = None
    present: bool = False


NONE = Maybe()


@dataclass(frozen=True, slots=True)
class Struct:
    """A constructed message, such as `Object.spec{replicas: 1}`."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


class Opaque:
    """Base of the values that Kubernetes' libraries bring along."""

    __slots__ = ()
    type_name: ClassVar[str] = ""


def type_name(value: Any) -> str:
    """The language's name of the value's type."""
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    if isinstance(value, Opaque):
        return value.type_name
    return value.name if isinstance(value, Struct) else "null_type"


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (Uint, "uint"), (int, "int"), (float, "double"), (str, "string"), (bytes, "bytes"),
    (list, "list"), (dict, "map"), (Timestamp, "google.protobuf.Timestamp"), (Duration, "google.protobuf.Duration"),
    (CelType, "type"), (Maybe, "optional_type"),
)  # fmt: skip


def equal(left: Any, right: Any) -> bool:
    """Equality: numbers by value whatever their type, `true` is no number, everything else within its type."""
    if isinstance(left, (str, bytes)):
        return type(left) is type(right) and bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)):
        return isinstance(right, (int, float)) and left == right
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(equal(a, b) for a, b in zip(left, right, strict=True))
        )
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and len(left) == len(right)
            and all(key in right and equal(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, Maybe):
        return isinstance(right, Maybe) and left.present == right.present and equal(left.value, right.value)
    if isinstance(left, Struct):
        return isinstance(right, Struct) and left.name == right.name and equal(left.fields, right.fields)
    return type(left) is type(right) and bool(left == right)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Raises EvaluationError for what has no order."""
    if isinstance(left, bool) != isinstance(right, bool):
        raise no_overload()
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    if not numbers and (type(left) is not type(right) or not isinstance(left, _ORDERED)):
        raise no_overload()
    if isinstance(left, str):
        left, right = left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass")
    if left != left or right != right:
        raise EvaluationError("NaN values cannot be ordered")
    return 1 if left > right else -1 if left < right else 0


_ORDERED = (bool, int, float, str, bytes, Timestamp, Duration)


def size(value: Any) -> int:
    """What work with the value costs: its length, or 1."""
    return len(value) if isinstance(value, (str, bytes, list, dict)) else 1


def no_overload() -> EvaluationError:
    return EvaluationError("no such overload")
