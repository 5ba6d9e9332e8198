"""
Operators and standard functions. Texts of errors are upstream's.

Source: github.com/google/cel-spec, doc/langdef.md; github.com/google/cel-go, common/types.
"""

import re
from collections.abc import Callable
from typing import Any

from cluster.api.cel import times
from cluster.api.cel.interpreter import added, inserted
from cluster.api.cel.times import convert_duration, convert_timestamp
from cluster.api.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    UINT_MAX,
    CelType,
    Duration,
    EvaluationError,
    Maybe,
    Timestamp,
    Uint,
    compare,
    equal,
    no_overload,
    type_name,
)
from cluster.api.structural_schema.patterns import BadPatternError, searcher


def whole(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def unsigned(value: int) -> Uint:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return Uint(value)


def _number(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Arithmetic on two numbers of one type."""

    def calculate(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind is not type(right) or kind not in (int, float, Uint):
            raise no_overload()
        if kind is float:
            try:
                return float(run(left, right))
            except OverflowError:
                raise no_overload() from None
        found = run(int(left), int(right))
        return unsigned(found) if kind is Uint else whole(found)

    return calculate


_multiply = _number(lambda a, b: a * b)
_plus = _number(lambda a, b: a + b)
_minus = _number(lambda a, b: a - b)


def add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        return added(left, right)
    if isinstance(left, (Timestamp, Duration)) and isinstance(right, (Timestamp, Duration)):
        return times.add(left, right)
    return _plus(left, right)


def subtract(left: Any, right: Any) -> Any:
    if isinstance(left, (Timestamp, Duration)) and isinstance(right, (Timestamp, Duration)):
        return times.subtract(left, right)
    return _minus(left, right)


def _quotient(left: int, right: int) -> int:
    """Towards zero, as Go divides."""
    found = abs(left) // abs(right)
    return found if (left < 0) == (right < 0) else -found


def divide(left: Any, right: Any) -> Any:
    if isinstance(left, float) and isinstance(right, float):
        if right == 0:
            return float("nan") if left == 0 or left != left else float("inf") * (1 if left > 0 else -1)
        return left / right
    if type(left) is type(right) and isinstance(left, int) and right == 0 and not isinstance(left, bool):
        raise EvaluationError("division by zero")
    return _number(_quotient)(left, right)


def modulo(left: Any, right: Any) -> Any:
    if isinstance(left, float) or isinstance(right, float):
        raise no_overload()
    if type(left) is type(right) and right == 0:
        raise EvaluationError("modulus by zero")
    return _number(lambda a, b: a - b * _quotient(a, b))(left, right)


def negate(value: Any) -> Any:
    if isinstance(value, float):
        return -value
    if type(value) is not int:
        raise no_overload()
    return whole(-value)


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise no_overload()
    return not value


def contained(value: Any, container: Any) -> bool:
    if isinstance(container, dict):
        return any(equal(value, key) for key in (container if isinstance(value, bool) else [value])) and (
            isinstance(value, (bool, int, float, str)) and value in container
        )
    if not isinstance(container, list):
        raise no_overload()
    return any(equal(value, item) for item in container)


def _size(value: Any) -> int:
    if not isinstance(value, (str, bytes, list, dict)):
        raise no_overload()
    return len(value)


def _converted(value: Any, target: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{type_name(value)}' to '{target}'")


def to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Timestamp)):
        raise no_overload()
    if isinstance(value, Timestamp):
        return value.nanos // 1_000_000_000
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,400}", value):
            raise EvaluationError(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        found = int(value)
        if not INT_MIN <= found <= INT_MAX:
            raise EvaluationError(f'strconv.ParseInt: parsing "{value}": value out of range')
        return found
    if isinstance(value, float) and not abs(value) < 2**63:
        raise EvaluationError("integer overflow")
    return whole(int(value))


def to_uint(value: Any) -> Uint:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise no_overload()
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,400}", value):
            raise EvaluationError(f'strconv.ParseUint: parsing "{value}": invalid syntax')
        return unsigned(int(value))
    if isinstance(value, float) and not 0 <= value < 2**64:
        raise EvaluationError("unsigned integer overflow")
    return unsigned(int(value))


def to_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise no_overload()
    try:
        return float(value)
    except ValueError:
        raise EvaluationError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "0"):
        return False
    raise (
        _converted(value, "bool")
        if not isinstance(value, str)
        else EvaluationError(f'strconv.ParseBool: parsing "{value}": invalid syntax')
    )


def shown_double(value: float) -> str:
    """As Go's %g with the shortest digits."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text and abs(value) < 1e21:
        return text.removesuffix(".0")
    mantissa, _, exponent = (text if "e" in text else f"{value:e}").partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent):+03d}"


def to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return shown_double(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Timestamp):
        return times.timestamp_text(value)
    if isinstance(value, Duration):
        return times.duration_text(value)
    text = getattr(value, "text", None)  # values of Kubernetes' libraries
    if not isinstance(text, str):
        raise no_overload()
    return text


def to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise no_overload()
    return value.encode("utf-8", "surrogatepass")


def matches(text: Any, pattern: Any) -> bool:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise no_overload()
    try:
        return searcher(pattern)(text)
    except BadPatternError as fault:
        raise EvaluationError(f"error parsing regexp: {fault}") from None


def _texts(run: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    def check(text: Any, part: Any) -> bool:
        if not isinstance(text, str) or not isinstance(part, str):
            raise no_overload()
        return run(text, part)

    return check


def _value(optional: Any) -> Any:
    if not isinstance(optional, Maybe):
        raise no_overload()
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _of_non_zero(value: Any) -> Maybe:
    zero = value is None or value is False or (isinstance(value, (int, float, str, bytes, list, dict)) and not value)
    return NONE if zero else Maybe(value, True)


def _type(value: Any) -> CelType:
    return CelType(type_name(value))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_+_": add,
    "_-_": subtract,
    "_*_": _multiply,
    "_/_": divide,
    "_%_": modulo,
    "-_": negate,
    "!_": _not,
    "_==_": equal,
    "_!=_": lambda left, right: not equal(left, right),
    "_<_": lambda left, right: compare(left, right) < 0,
    "_<=_": lambda left, right: compare(left, right) <= 0,
    "_>_": lambda left, right: compare(left, right) > 0,
    "_>=_": lambda left, right: compare(left, right) >= 0,
    "@in": contained,
    "size": _size,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "bool": to_bool,
    "string": to_string,
    "bytes": to_bytes,
    "type": _type,
    "dyn": lambda value: value,
    "timestamp": convert_timestamp,
    "duration": convert_duration,
    "matches": matches,
    "contains": _texts(lambda text, part: part in text),
    "startsWith": _texts(str.startswith),
    "endsWith": _texts(str.endswith),
    "optional.of": lambda value: Maybe(value, True),
    "optional.ofNonZeroValue": _of_non_zero,
    "optional.none": lambda: NONE,
    "hasValue": lambda optional: optional.present,
    "value": _value,
    "cel.@mapInsert": inserted,
    **times.FUNCTIONS,
}
