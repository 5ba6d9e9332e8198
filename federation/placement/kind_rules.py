"""
What KindRules say of kinds that the federation does not know by itself, and how that is applied. Pure.

A rule is data and expressions that can neither loop nor reach anything; each evaluation has a limit of costs and time.
Whatever goes wrong leaves an object treated as one of a kind without rules.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from cluster.machinery.objects import Object
from federation.placement.dependencies import Reference
from federation.placement.workloads import DIVIDED_KINDS, ReadByRule

Path = tuple[str, ...]
"""Names of fields from the outside in; `*` is every item of a list."""
SECONDS = 0.1
"""The longest that one evaluation may take."""
LONGEST_STATUS = 256 * 1024  # bytes
_KEPT = ("apiVersion", "kind", "metadata")


class RuleError(ValueError):
    """A rule, or what it gave, cannot be used. Says which part, and why."""


class KindPaths(NamedTuple):
    """What of a rule is needed to write objects; it is kept in Placements, so that agents need no rules."""

    replicas: Path = ()
    member_owned: tuple[Path, ...] = ()


NO_PATHS = KindPaths()


@dataclass(frozen=True, slots=True)
class KindRule:
    """Empty where there is none for a kind."""

    name: str = ""
    group: str = ""
    kind: str = ""
    created: str = ""
    paths: KindPaths = NO_PATHS
    pod_template: Path = ()
    dependencies: str = ""
    health: str = ""
    summed: tuple[str, ...] = ()
    status: str = ""


NO_RULE = KindRule()


def kind_rule_of(obj: Object) -> KindRule:
    """Raises RuleError, also for expressions that are none."""
    spec, metadata = obj["spec"], obj["metadata"]
    target, status = spec["target"], spec.get("status") or {}
    rule = KindRule(
        name=metadata["name"],
        group=target.get("group") or "",
        kind=target["kind"],
        created=metadata.get("creationTimestamp") or "",
        paths=KindPaths(_path(spec, "replicas"), tuple(path_of(one) for one in spec.get("memberOwned") or ())),
        pod_template=_path(spec, "podTemplate"),
        dependencies=spec.get("dependencies") or "",
        health=spec.get("health") or "",
        summed=tuple(status.get("sum") or ()),
        status=status.get("expression") or "",
    )
    if (rule.group, rule.kind) in DIVIDED_KINDS and (rule.paths.replicas or rule.pod_template):
        raise RuleError(f"where a {rule.kind} has its replicas and Pods is known; leave replicas and podTemplate out")
    for path in (rule.paths.replicas, rule.pod_template, *rule.paths.member_owned):
        if path and path[0] in (*_KEPT, "status"):
            raise RuleError(f"{text_of(path)} is not for rules: members decide it, or it says what the object is")
    for field, expression in (("dependencies", rule.dependencies), ("health", rule.health), ("status", rule.status)):
        if expression:
            _compiled(field, expression)
    return rule


def _path(spec: Object, field: str) -> Path:
    return path_of(spec[field]) if spec.get(field) else ()


def path_of(text: str) -> Path:
    """`.spec.ports[*].nodePort` -> spec, ports, *, nodePort. The definition of KindRules lets nothing else in."""
    return tuple(re.sub(r"\[\*\]", ".*", text).strip(".").split("."))


def text_of(path: Path) -> str:
    return "".join("[*]" if name == "*" else f".{name}" for name in path)


def in_force(rules: Iterable[KindRule]) -> dict[tuple[str, str], KindRule]:
    """The oldest of each group and kind."""
    found: dict[tuple[str, str], KindRule] = {}
    for rule in sorted(rules, key=lambda one: (one.created, one.name)):
        found.setdefault((rule.group, rule.kind), rule)
    return found


# --- replicas and Pods -------------------------------------------------------------------------------------


def read_as(template: Object, rule: KindRule) -> Object:
    """
    What the planner is to see: replicas and Pods where a Deployment has them, and nothing else of the spec.

    An object without replicas at the rule's path is copied, and one without a rule is the template itself.
    """
    if not rule.paths.replicas and not rule.pod_template:
        return template
    pod, replicas = _get(template, rule.pod_template), _get(template, rule.paths.replicas)
    spec: Object = {"template": pod} if isinstance(pod, dict) else {}
    seen = {name: template[name] for name in _KEPT if name in template}
    if not _is_count(replicas):
        return {**seen, "spec": spec}
    return ReadByRule({**seen, "spec": {**spec, "replicas": replicas}})


def write_into(rendered: Object, paths: KindPaths, replicas: int | None) -> None:
    """
    Put a member's part into its object, in place, and take out what the member decides.

    Without a number, where there is one in the template, an autoscaler of the member sets it.
    """
    if paths.replicas and _is_count(_get(rendered, paths.replicas)):
        *outer, last = paths.replicas
        inner = _get(rendered, tuple(outer))
        if replicas is None:
            del inner[last]
        else:
            inner[last] = replicas
    for path in paths.member_owned:
        _drop(rendered, path)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _get(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value if path else None


def _drop(value: Any, path: Path) -> None:
    first, rest = path[0], path[1:]
    if first == "*":
        if isinstance(value, list) and rest:
            for item in value:
                _drop(item, rest)
        elif isinstance(value, list):
            value.clear()
    elif isinstance(value, dict) and first in value:
        if rest:
            _drop(value[first], rest)
        else:
            del value[first]


# --- expressions -------------------------------------------------------------------------------------------


def dependencies_by(rule: KindRule, template: Object) -> tuple[Reference, ...]:
    """What the object needs, in its own namespace. Raises RuleError."""
    if not rule.dependencies:
        return ()
    found = _evaluate("dependencies", rule.dependencies, {"object": template})
    namespace = (template.get("metadata") or {}).get("namespace") or ""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise RuleError("dependencies is no list of maps")
    references = set()
    for one in found:
        api_version, kind, name = (one.get(field) for field in ("apiVersion", "kind", "name"))
        if not (isinstance(api_version, str) and api_version and isinstance(kind, str) and kind):
            raise RuleError(f"dependencies names something without apiVersion and kind: {one}")
        if isinstance(name, str) and name:
            references.add(Reference(api_version, kind, namespace, name))
    return tuple(sorted(references))


def is_healthy(rule: KindRule, status: Object | None, replicas: int | None) -> bool:
    """Raises RuleError."""
    found = _evaluate("health", rule.health, {"status": status or {}, "replicas": replicas or 0})
    if not isinstance(found, bool):
        raise RuleError(f"health is neither true nor false, but {type(found).__name__}")
    return found


def status_by(rule: KindRule, template: Object, clusters: Sequence[Mapping[str, Any]]) -> Object:
    """The whole status. `clusters`: maps with name, status and current. Raises RuleError."""
    found = _evaluate("status", rule.status, {"object": template, "clusters": [dict(one) for one in clusters]})
    if not isinstance(found, dict):
        raise RuleError(f"status is no map, but {type(found).__name__}")
    try:
        packed = orjson.dumps(found, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError as fault:
        raise RuleError(f"status holds something that JSON has no word for: {fault}") from None
    if len(packed) > LONGEST_STATUS:
        raise RuleError(f"status has {len(packed)} bytes; {LONGEST_STATUS} are allowed")
    status: Object = orjson.loads(packed)
    return status


_VARIABLES = {
    "dependencies": ("object",),
    "health": ("status", "replicas"),
    "status": ("object", "clusters"),
}


def _compiled(field: str, expression: str) -> Any:
    from cluster.api.cel.environment import dynamic  # 10 MB, for federations that have rules
    from cluster.api.cel.values import CompileError

    try:
        return dynamic(*_VARIABLES[field]).compile(expression)
    except CompileError as fault:
        raise RuleError(f"{field} is no expression: {fault}") from None


def _evaluate(field: str, expression: str, variables: dict[str, Any]) -> Any:
    from cluster.api.cel.values import CelError

    try:
        value, _ = _compiled(field, expression).evaluate(variables, deadline=time.thread_time() + SECONDS)
    except CelError as fault:
        raise RuleError(f"{field}: {fault}") from None
    return value
