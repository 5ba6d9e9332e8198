"""
Evaluates checked expressions: every node becomes a function once, which then runs for every request.

Costs are counted while running, with the figures of upstream's tracker, so that a hostile expression ends at its limit.
Source of the figures: github.com/google/cel-go, interpreter/runtimecost.go.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cluster.api.cel import costs
from cluster.api.cel.syntax import Call, Comprehension, Const, Ident, ListNode, Node, Select, StructNode
from cluster.api.cel.values import (
    NONE,
    CelError,
    CelType,
    CostExceededError,
    EvaluationError,
    Maybe,
    OutOfTimeError,
    Struct,
    equal,
    no_overload,
    type_name,
)

Function = Callable[..., Any]
Frame = dict[str, Any]
Step = Callable[[Frame, "Meter"], Any]

TOO_EXPENSIVE = "operation cancelled: actual cost limit exceeded"
CHECKPOINT = 2_000
"""Cost between two looks at the clock: about two milliseconds."""
LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
TYPES = {
    name: CelType(full)
    for name, full in {
        **{plain: plain for plain in ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type",
                                      "type", "optional_type", "net.IP", "net.CIDR", "kubernetes.URL",
                                      "kubernetes.Quantity", "kubernetes.Semver")},
        "google.protobuf.Timestamp": "google.protobuf.Timestamp",
        "google.protobuf.Duration": "google.protobuf.Duration",
        "timestamp": "google.protobuf.Timestamp",
        "duration": "google.protobuf.Duration",
    }.items()
}  # fmt: skip


class Meter:
    """What one evaluation has cost, the most that it may, and until when it may run."""

    __slots__ = ("_checkpoint", "_deadline", "limit", "used")

    def __init__(self, limit: int, deadline: float | None = None) -> None:
        """`deadline` is of `time.thread_time()`: what a loaded machine takes away does not count."""
        self.used, self.limit = 0, limit
        self._deadline = deadline
        self._checkpoint = limit if deadline is None else min(limit, CHECKPOINT)

    def spend(self, cost: int) -> None:
        self.used += cost
        if self.used > self._checkpoint:
            self._check()

    def _check(self) -> None:
        if self.used > self.limit:
            raise CostExceededError(TOO_EXPENSIVE)
        if self._deadline is not None and time.thread_time() > self._deadline:
            raise OutOfTimeError(TOO_EXPENSIVE)
        self._checkpoint = min(self.limit, self.used + CHECKPOINT)


class Lazy:
    """A variable whose value is worked out when it is first read."""

    __slots__ = ("_found", "_make")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._found: Any = None

    def value(self) -> Any:
        if self._make is not None:
            self._found = self._make()
            self._make = None
        return self._found


class LazyFields(dict[str, Any]):
    """A map some of whose values are `Lazy`."""

    def __getitem__(self, key: str) -> Any:
        found = dict.__getitem__(self, key)
        return found.value() if isinstance(found, Lazy) else found


class _GrowingList(list[Any]):
    """What `map` and `filter` build up; nobody else sees it, so it may grow in place."""


class _GrowingMap(dict[Any, Any]):
    """Likewise for the macros that make maps."""


class Interpreter:
    """Builds the functions. `functions` are by name; receivers come first among the arguments."""

    def __init__(self, functions: Mapping[str, Function], structs: Mapping[str, str]) -> None:
        """`structs` maps the names of messages in the tree to those that are shown, `Object_spec` to `Object.spec`."""
        self._functions = functions
        self._structs = structs

    def build(self, node: Node) -> Step:
        match node:
            case Const(value=value):
                return lambda _frame, _meter: value
            case Ident(name=name):
                return self._ident(name)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListNode():
                return self._list(node)
            case StructNode():
                return self._struct(node)
            case Comprehension():
                return self._comprehension(node)

    def _ident(self, name: str) -> Step:
        fixed = TYPES.get(name)

        def run(frame: Frame, meter: Meter) -> Any:
            meter.spend(1)
            try:
                found = frame[name]
            except KeyError:
                if fixed is not None:
                    return fixed
                raise EvaluationError(f"no such attribute(s): {name}") from None
            return found.value() if type(found) is Lazy else found

        return run

    def _select(self, node: Select) -> Step:
        operand, name = self.build(node.operand), node.field
        if node.test_only:
            return lambda frame, meter: _has(operand(frame, meter), name)

        def run(frame: Frame, meter: Meter) -> Any:
            value = operand(frame, meter)
            meter.spend(1)
            return _field(value, name)

        return run

    def _call(self, node: Call) -> Step:
        args = ([node.target] if node.target is not None else []) + list(node.args)
        steps = [self.build(arg) for arg in args]
        match node.function:
            case "_&&_":
                return _junction(steps, decisive=False)
            case "_||_":
                return _junction(steps, decisive=True)
            case "_?_:_":
                return _conditional(*steps)
            case "@not_strictly_false":
                return _not_strictly_false(steps[0])
            case "_[_]" | "_?._" | "_[?_]":
                read = {"_[_]": _index, "_?._": _optional_field, "_[?_]": _optional_field}[node.function]
                return _reading(read, *steps)
            case "or" | "orValue" if node.target is not None:
                return _alternative(node.function, *steps)
        run = self._functions.get(node.function)
        if run is None:
            raise CelError(f"undeclared reference to '{node.function}' (in container '')")
        return _calling(run, costs.of(node.function), steps)

    def _list(self, node: ListNode) -> Step:
        steps = [(self.build(element), index in node.optional) for index, element in enumerate(node.elements)]

        def run(frame: Frame, meter: Meter) -> Any:
            found = []
            for step, optional in steps:
                value = step(frame, meter)
                if optional:
                    if not isinstance(value, Maybe):
                        raise no_overload()
                    if value.present:
                        found.append(value.value)
                else:
                    found.append(value)
            meter.spend(LIST_COST)
            return found

        return run

    def _struct(self, node: StructNode) -> Step:
        steps = [
            (
                entry.key if isinstance(entry.key, str) else self.build(entry.key),
                self.build(entry.value),
                entry.optional,
            )
            for entry in node.entries
        ]
        shown = self._structs.get(node.name, node.name)

        def run(frame: Frame, meter: Meter) -> Any:
            found: dict[Any, Any] = {}
            for key, step, optional in steps:
                at = key if isinstance(key, str) else _key(key(frame, meter))
                value = step(frame, meter)
                if optional:
                    if not isinstance(value, Maybe):
                        raise no_overload()
                    if not value.present:
                        continue
                    value = value.value
                found[at] = value
            meter.spend(STRUCT_COST if shown else MAP_COST)
            return Struct(shown, found) if shown else found

        return run

    def _comprehension(self, node: Comprehension) -> Step:
        items, init, condition, step, result = (
            self.build(part) for part in (node.range, node.init, node.condition, node.step, node.result)
        )
        accu, first, second = node.accu, node.iter_var, node.iter_var2
        always = isinstance(node.condition, Const) and node.condition.value is True

        def run(frame: Frame, meter: Meter) -> Any:
            source = items(frame, meter)
            inner = dict(frame)
            inner[accu] = _growing(init(frame, meter))
            for key, value in _pairs(source, both=bool(second)):
                inner[first] = key
                if second:
                    inner[second] = value
                if not always and condition(inner, meter) is False:
                    break
                meter.spend(1)  # so that even an empty body ends
                inner[accu] = step(inner, meter)
            inner.pop(first, None)
            found = result(inner, meter)
            return _settled(found)

        return run


def _pairs(source: Any, *, both: bool) -> Iterator[tuple[Any, Any]]:
    if isinstance(source, list):
        yield from enumerate(source) if both else ((value, None) for value in source)
    elif isinstance(source, dict):
        yield from source.items() if both else ((key, None) for key in source)
    else:
        raise no_overload()


def _growing(value: Any) -> Any:
    if isinstance(value, list) and not value:
        return _GrowingList()
    return _GrowingMap() if isinstance(value, dict) and not value else value


def _settled(value: Any) -> Any:
    if isinstance(value, _GrowingList):
        return list(value)
    return dict(value) if isinstance(value, _GrowingMap) else value


def added(left: list[Any], right: list[Any]) -> list[Any]:
    if isinstance(left, _GrowingList):
        left.extend(right)
        return left
    return left + right


def inserted(target: dict[Any, Any], *entry: Any) -> dict[Any, Any]:
    """`cel.@mapInsert`: a key and a value, or another map. Raises EvaluationError for a key that is there."""
    pairs = [entry] if len(entry) == 2 else list(entry[0].items())
    into = target if isinstance(target, _GrowingMap) else dict(target)
    for key, value in pairs:
        if _key(key) in into:
            raise EvaluationError(f"insert failed: key {key} already exists")
        into[key] = value
    return into


def _calling(run: Function, cost: costs.Cost, steps: Sequence[Step]) -> Step:
    def call(frame: Frame, meter: Meter) -> Any:
        args = [step(frame, meter) for step in steps]
        meter.spend(cost.before(args))
        try:
            found = run(*args)
        except (TypeError, AttributeError):
            raise no_overload() from None
        if cost.after is not None:
            meter.spend(cost.after(found))
        return found

    return call


def _junction(steps: Sequence[Step], *, decisive: bool) -> Step:
    """`&&` and `||`: a side that decides makes the other's error no error."""
    left, right = steps

    def run(frame: Frame, meter: Meter) -> Any:
        error: EvaluationError | None = None
        try:
            first = left(frame, meter)
        except EvaluationError as fault:
            first, error = None, fault
        if first is decisive:
            return decisive
        second = right(frame, meter)
        if second is decisive:
            return decisive
        if error is not None:
            raise error
        if not isinstance(first, bool) or not isinstance(second, bool):
            raise no_overload()
        return not decisive

    return run


def _conditional(test: Step, yes: Step, no: Step) -> Step:
    def run(frame: Frame, meter: Meter) -> Any:
        found = test(frame, meter)
        if not isinstance(found, bool):
            raise no_overload()
        return yes(frame, meter) if found else no(frame, meter)

    return run


def _not_strictly_false(step: Step) -> Step:
    def run(frame: Frame, meter: Meter) -> Any:
        try:
            return step(frame, meter) is not False
        except EvaluationError:
            return True

    return run


def _reading(read: Callable[[Any, Any], Any], operand: Step, key: Step) -> Step:
    def run(frame: Frame, meter: Meter) -> Any:
        value = operand(frame, meter)
        at = key(frame, meter)
        meter.spend(1)
        return read(value, at)

    return run


def _alternative(name: str, first: Step, second: Step) -> Step:
    def run(frame: Frame, meter: Meter) -> Any:
        found = first(frame, meter)
        if not isinstance(found, Maybe):
            raise no_overload()
        if found.present:
            return found if name == "or" else found.value
        return second(frame, meter)

    return run


def _has(value: Any, name: str) -> bool:
    if isinstance(value, Maybe):
        return value.present and _has(value.value, name)
    if isinstance(value, Struct):
        return name in value.fields
    if not isinstance(value, dict):
        raise no_overload()
    return name in value


def _field(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        try:
            return value[name]
        except KeyError:
            raise EvaluationError(f"no such key: {name}") from None
    if isinstance(value, Struct):
        if name not in value.fields:
            raise EvaluationError(f"no such key: {name}")
        return value.fields[name]
    if isinstance(value, Maybe):
        return _optional_field(value, name)
    raise no_overload()


def _key(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, (bool, int, str)):
        raise EvaluationError(f"unsupported key type: {type_name(value)}")
    return value


def _index(value: Any, key: Any) -> Any:
    if isinstance(value, Maybe):
        return _optional_field(value, key)
    if isinstance(value, list):
        at = _position(key)
        if not 0 <= at < len(value):
            raise EvaluationError(f"index out of bounds: {at}")
        return value[at]
    if isinstance(value, dict):
        at = _key(key)
        if at not in value or not _same_kind(value, at):
            raise EvaluationError(f"no such key: {key}")
        return value[at]
    return _field(value, key)


def _same_kind(value: dict[Any, Any], key: Any) -> bool:
    """Python takes `true` and 1 for one key."""
    if type(key) is str or (type(key) is not bool and not any(isinstance(known, bool) for known in value)):
        return True
    return any(equal(known, key) for known in value)


def _position(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, (int, float)):
        raise EvaluationError(f"unsupported index type '{type_name(key)}' in list")
    if isinstance(key, float) and not key.is_integer():
        raise EvaluationError(f"unsupported index value {key} in list")
    return int(key)


def _optional_field(value: Any, key: Any) -> Maybe:
    if isinstance(value, Maybe):
        return _optional_field(value.value, key) if value.present else NONE
    if isinstance(value, Struct):
        return Maybe(value.fields[key], True) if key in value.fields else NONE
    if isinstance(value, dict):
        at = _key(key)
        return Maybe(value[at], True) if at in value and _same_kind(value, at) else NONE
    if isinstance(value, list):
        at = _position(key)
        return Maybe(value[at], True) if 0 <= at < len(value) else NONE
    raise no_overload()
