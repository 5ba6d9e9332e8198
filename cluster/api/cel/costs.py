"""
What calls cost while they run, in upstream's units.

Source: k8s.io/apiserver, pkg/cel/library/cost.go; github.com/google/cel-go, interpreter/runtimecost.go and ext.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api.cel.values import size

PER_CHARACTER = 0.1
PER_PATTERN_CHARACTER = 0.25
AUTHORIZATION_CHECK = 350_000
PER_CALL_LIMIT = 1_000_000
"""Of one expression."""
REQUEST_BUDGET = 10_000_000
"""Of all expressions of one policy, or all rules of one definition, for one request."""
MATCH_CONDITIONS_BUDGET = REQUEST_BUDGET // 4


@dataclass(frozen=True, slots=True)
class Cost:
    before: Callable[[Sequence[Any]], int]
    """From the arguments."""
    after: Callable[[Any], int] | None = None
    """From the result, for what can only be known then."""


def _traversed(count: float) -> int:
    return math.ceil(count * PER_CHARACTER)


def _first(times: float = 1) -> Cost:
    return Cost(lambda args: _traversed(size(args[0]) * times))


def _list_traversal(args: Sequence[Any]) -> int:
    items = args[0]
    if not isinstance(items, list):
        return _traversed(size(items))
    return len(items) + _traversed(sum(len(item) for item in items if isinstance(item, (str, bytes))))


def _pattern(args: Sequence[Any]) -> int:
    return _traversed(1 + size(args[0])) * math.ceil(size(args[1]) * PER_PATTERN_CHARACTER)


def _both(args: Sequence[Any]) -> int:
    return _traversed(size(args[0])) * _traversed(size(args[1]))


def _smaller(args: Sequence[Any]) -> int:
    return _traversed(min(weight(args[0]), weight(args[1])))


def _sum(args: Sequence[Any]) -> int:
    left, right = args[0], args[1]
    if isinstance(left, (str, bytes)) and isinstance(right, (str, bytes)):
        return _traversed(size(left) + size(right))
    # Upstream joins lists without copying them and charges 1. What macros build up grows in place here as well.
    return 1 + (len(left) + len(right)) // 10 if type(left) is list and isinstance(right, list) else 1


def _inside(args: Sequence[Any]) -> int:
    if not isinstance(args[1], list):
        return 1
    return max(weight(args[1]) if isinstance(args[0], (list, dict)) else len(args[1]), 1)


def _product(args: Sequence[Any]) -> int:
    """Sets compare every element with every other."""
    return max(weight(args[0]) * max(size(args[1]), 1), weight(args[1]))


def weight(value: Any) -> int:
    """How much there is to compare: upstream counts one level, we count all, so that nothing deep is free."""
    if isinstance(value, list):
        return 1 + sum(weight(item) for item in value)
    if isinstance(value, dict):
        return 1 + sum(weight(item) for item in value.values())
    return size(value)


def _format_arguments(args: Sequence[Any]) -> int:
    return _traversed(size(args[0]) + weight(args[1]))


_ONE = Cost(lambda _args: 1)
_COSTS: dict[str, Cost] = {
    "check": Cost(lambda _args: AUTHORIZATION_CHECK),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), Cost(_list_traversal)),
    **dict.fromkeys(("url", "isURL", "lowerAscii", "upperAscii", "substring", "trim", "cidr", "isIP", "isCIDR", "ip",
                     "quantity", "isQuantity", "semver", "isSemver", "charAt", "strings.quote", "timestamp", "duration",
                     "bytes", "string", "jsonpatch.escapeKey"), _first()),
    **dict.fromkeys(("split", "ip.isCanonical"), _first(2)),
    "replace": Cost(lambda args: _traversed(size(args[0])), lambda result: _traversed(size(result))),
    "join": Cost(lambda args: _inside((None, args[0])), lambda result: _traversed(size(result) * 2)),
    **dict.fromkeys(("find", "findAll", "matches"), Cost(_pattern)),
    "contains": Cost(_both),
    **dict.fromkeys(("startsWith", "endsWith"), Cost(lambda args: _traversed(size(args[1])))),
    "format": Cost(_format_arguments, lambda result: _traversed(size(result))),
    "validate": Cost(lambda args: _traversed(size(args[1]))),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), Cost(_smaller)),
    "_+_": Cost(_sum),
    "@in": Cost(_inside),
    **dict.fromkeys(("sets.contains", "sets.equivalent", "sets.intersects"), Cost(_product)),
    **dict.fromkeys(("containsIP", "containsCIDR"), Cost(lambda args: 4 + _traversed(size(args[1])))),
}  # fmt: skip


def of(function: str) -> Cost:
    return _COSTS.get(function, _ONE)
