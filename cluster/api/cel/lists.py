"""
Kubernetes' functions of lists, and sets.

Source: k8s.io/apiserver, pkg/cel/library/lists.go; github.com/google/cel-go, ext/sets.go.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from cluster.api.cel import operators, strings
from cluster.api.cel.values import Duration, EvaluationError, compare, equal, no_overload


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(left, right) <= 0 for left, right in itertools.pairwise(_list(items)))


def _sum(items: list[Any]) -> Any:
    if not _list(items):
        return 0
    return functools.reduce(operators.add, items[1:], _summand(items[0]))


def _summand(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, Duration)):
        raise no_overload()
    return value


def _extreme(name: str, wanted: int) -> Callable[[list[Any]], Any]:
    def find(items: list[Any]) -> Any:
        if not _list(items):
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if compare(item, best) == wanted:
                best = item
        return best

    return find


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise no_overload()
    return value


def _index_of(items: Any, wanted: Any, *rest: Any) -> int:
    if isinstance(items, str):
        return strings.index_of(items, wanted, *rest)
    return next((index for index, item in enumerate(_list(items)) if equal(item, wanted)), -1)


def _last_index_of(items: Any, wanted: Any, *rest: Any) -> int:
    if isinstance(items, str):
        return strings.last_index_of(items, wanted, *rest)
    return next((at for at in reversed(range(len(_list(items)))) if equal(items[at], wanted)), -1)


def _holds(items: list[Any], wanted: Any) -> bool:
    return any(equal(item, wanted) for item in items)


def _contains(items: list[Any], others: list[Any]) -> bool:
    return all(_holds(_list(items), other) for other in _list(others))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isSorted": _is_sorted,
    "sum": _sum,
    "min": _extreme("min", -1),
    "max": _extreme("max", 1),
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "sets.contains": _contains,
    "sets.equivalent": lambda items, others: _contains(items, others) and _contains(others, items),
    "sets.intersects": lambda items, others: any(_holds(_list(items), other) for other in _list(others)),
}
_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMED = ("int", "uint", "double", "duration")
DECLARED = "\n".join(
    [
        *(f"list<{kind}>.isSorted() bool" for kind in _ORDERED),
        *(f"list<{kind}>.{name}() {kind}" for kind in _ORDERED for name in ("min", "max")),
        *(f"list<{kind}>.sum() {kind}" for kind in _SUMMED),
        "list<dyn>.indexOf(dyn) int",
        "list<dyn>.lastIndexOf(dyn) int",
    ]
)
"""Those of sets are declared by the engine."""
