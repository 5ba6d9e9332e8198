"""
What an expression can cost at most, before it runs: from its tree and the bounds of the schemas.

Source: github.com/google/cel-go, checker/cost.go; k8s.io/apiserver, pkg/cel/library/cost.go (EstimateCallCost);
k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel/compilation.go.
"""

import math
from dataclasses import dataclass

from cluster.api.cel.costs import AUTHORIZATION_CHECK, PER_CHARACTER, PER_PATTERN_CHARACTER
from cluster.api.cel.interpreter import LIST_COST, MAP_COST, STRUCT_COST
from cluster.api.cel.schema_types import unescaped
from cluster.api.cel.sizes import UNBOUNDED, UNKNOWN, Sized, product, total
from cluster.api.cel.syntax import Call, Comprehension, Const, Ident, ListNode, Node, Select, StructNode

RULE_LIMIT = 10_000_000
"""Of one rule, with all the places that it is run for."""
SCHEMA_LIMIT = 100_000_000
"""Of all rules of one schema."""

_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
_TEXT_RESULTS = frozenset({"lowerAscii", "upperAscii", "substring", "trim", "charAt", "string", "bytes"})
_TRAVERSALS = frozenset({"lowerAscii", "upperAscii", "substring", "trim", "url", "cidr", "ip", "isIP", "isCIDR",
                         "quantity", "isQuantity", "semver", "isSemver", "isURL"})  # fmt: skip
_LIST_WALKS = frozenset({"isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"})
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})


def exceeded(subject: str, cost: int, limit: int) -> str:
    """The text for a cost over its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{subject} exceeds budget by factor of {shown} {_ADVICE}"


@dataclass(frozen=True, slots=True)
class _Estimate:
    cost: int
    value: Sized


def most(root: Node, variables: dict[str, Sized]) -> int:
    """The greatest cost of an expression over variables of these bounds."""
    return _node(root, variables).cost


def _node(node: Node, scope: dict[str, Sized]) -> _Estimate:
    match node:
        case Const(value=value):
            textual = isinstance(value, (str, bytes))
            return _Estimate(0, Sized(len(value) if textual else 1, textual=textual))
        case Ident(name=name):
            return _Estimate(1, scope.get(name, UNKNOWN))
        case Select():
            operand = _node(node.operand, scope)
            if node.test_only:
                return _Estimate(operand.cost, Sized())
            return _Estimate(total(operand.cost, 1), operand.value.field(unescaped(node.field)))
        case ListNode(elements=elements):
            found = [_node(element, scope) for element in elements]
            inner = _largest([one.value for one in found])
            return _Estimate(total(LIST_COST, *(one.cost for one in found)), Sized(len(found), element=inner))
        case StructNode():
            return _struct(node, scope)
        case Comprehension():
            return _comprehension(node, scope)
        case Call():
            return _call(node, scope)


def _struct(node: StructNode, scope: dict[str, Sized]) -> _Estimate:
    cost = STRUCT_COST if node.name else MAP_COST
    values = []
    for entry in node.entries:
        value = _node(entry.value, scope)
        values.append(value.value)
        cost = total(cost, value.cost, 0 if isinstance(entry.key, str) else _node(entry.key, scope).cost)
    return _Estimate(cost, Sized(len(values), element=_largest(values)))


def _largest(values: list[Sized]) -> Sized:
    return max(values, key=lambda one: one.size, default=Sized())


def _comprehension(node: Comprehension, scope: dict[str, Sized]) -> _Estimate:
    source, init = _node(node.range, scope), _node(node.init, scope)
    inner = {**scope, node.accu: init.value}
    over_keys = source.value.keys if not node.iter_var2 else None
    inner[node.iter_var] = over_keys or source.value.item()
    if node.iter_var2:
        inner[node.iter_var] = source.value.keys or Sized()
        inner[node.iter_var2] = source.value.item()
    condition, step = _node(node.condition, inner), _node(node.step, inner)
    # What a macro builds has one entry for each that it goes through.
    built = isinstance(node.init, (ListNode, StructNode))
    value = Sized(source.value.size, element=step.value.element or step.value.item()) if built else step.value
    result = _node(node.result, {**scope, node.accu: value})
    loops = product(source.value.size, total(condition.cost, step.cost))
    return _Estimate(total(source.cost, init.cost, loops, result.cost), result.value)


def _call(node: Call, scope: dict[str, Sized]) -> _Estimate:
    nodes = ([node.target] if node.target is not None else []) + list(node.args)
    found = [_node(one, scope) for one in nodes]
    values, costs = [one.value for one in found], [one.cost for one in found]
    match node.function:
        case "_&&_" | "_||_" | "@not_strictly_false":
            return _Estimate(total(*costs), Sized())
        case "_?_:_":
            return _Estimate(total(costs[0], max(costs[1:])), _largest(values[1:]))
        case "_[_]" | "_[?_]":
            return _Estimate(total(1, *costs), _chosen(values[0], nodes[1]))
        case "_?._":
            return _Estimate(total(1, *costs), _chosen(values[0], nodes[1]))
        case "value" | "orValue" | "or" | "optional.of" | "optional.ofNonZeroValue" | "dyn":
            return _Estimate(total(1, *costs), _largest(values))
        case _:
            own, value = _function(node.function, values)
            return _Estimate(total(own, *costs), value)


def _chosen(container: Sized, key: Node) -> Sized:
    if isinstance(key, Const) and isinstance(key.value, str):
        return container.field(unescaped(key.value))
    return container.item()


def _characters(size: int, factor: float = PER_CHARACTER) -> int:
    return UNBOUNDED if size >= UNBOUNDED else math.ceil(size * factor)


def _function(name: str, values: list[Sized]) -> tuple[int, Sized]:
    """The cost of a call by itself, and its result."""
    first = values[0] if values else Sized()
    second = values[1] if len(values) > 1 else Sized()
    if name in _COMPARISONS:
        return max(_characters(min(first.size, second.size)), 1), Sized()
    if name in _TRAVERSALS:
        return _characters(first.size), Sized(first.size, textual=True) if name in _TEXT_RESULTS else Sized()
    if name in _LIST_WALKS and not first.textual:
        inner = first.item()
        each = total(1, _characters(inner.size) if inner.textual else 0)
        return product(first.size, each), inner if name in ("min", "max", "sum") else Sized()
    match name:
        case "_+_":
            return max(_characters(total(first.size, second.size)), 1), _joined(first, second)
        case "@in":
            return second.size if second.keys is None else 1, Sized()
        case "startsWith" | "endsWith":
            return _characters(second.size), Sized()
        case "contains":
            return product(_characters(first.size), _characters(second.size)), Sized()
        case "matches" | "find" | "findAll":
            cost = product(_characters(total(first.size, 1)), _characters(second.size, PER_PATTERN_CHARACTER))
            return cost, _pattern_result(name, first)
        case "indexOf" | "lastIndexOf":
            return _characters(first.size), Sized()
        case "replace":
            grown = product(total(first.size, 1), max(values[2].size if len(values) > 2 else 1, 1))
            return _characters(first.size, 2 * PER_CHARACTER), Sized(total(grown, first.size), textual=True)
        case "split":
            cost = _characters(first.size, 2 * PER_CHARACTER)
            return cost, Sized(first.size, element=Sized(first.size, textual=True))
        case "join":
            size = product(first.size, total(first.item().size, second.size))
            return _characters(size), Sized(size, textual=True)
        case "sets.contains" | "sets.equivalent" | "sets.intersects":
            return total(product(first.size, second.size), 1), Sized()
        case "format" | "strings.quote":
            return _characters(first.size), Sized(UNBOUNDED, textual=True)
        case "check":
            return AUTHORIZATION_CHECK, Sized()
        case _:
            return 1, first if name in _TEXT_RESULTS else Sized()


def _joined(first: Sized, second: Sized) -> Sized:
    size = total(first.size, second.size)
    if first.textual or second.textual:
        return Sized(size, textual=True)
    if first.element is None and second.element is None and not first.schema and not second.schema:
        return Sized() if max(first.size, second.size) <= 1 else Sized(size)
    return Sized(size, element=_largest([first.item(), second.item()]) if first.size else second.item())


def _pattern_result(name: str, text: Sized) -> Sized:
    if name == "findAll":
        return Sized(text.size, element=Sized(text.size, textual=True))
    return Sized(text.size, textual=True) if name == "find" else Sized()
