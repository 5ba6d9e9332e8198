"""Validation of where a pod may run: affinity, tolerations, topology spread, node selectors."""

from collections.abc import Sequence

from cluster.api.validation.metadata import validate_labels
from cluster.api.validation.rules import Errors, each, listed, mapping, named, one_of, text, within
from cluster.api.validation.selectors import SET_OPERATORS, check_presence_of_values, validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_affinity(path: str, affinity: Object | None) -> Errors:
    if not affinity:
        return []
    errors: Errors = []
    if (node := affinity.get("nodeAffinity")) is not None:
        errors += _check_node_affinity(f"{path}.nodeAffinity", node)
    for key in ("podAffinity", "podAntiAffinity"):
        if (pod := affinity.get(key)) is not None:
            errors += each(f"{path}.{key}.{_REQUIRED}", listed(pod, _REQUIRED), _check_pod_term)
            errors += each(f"{path}.{key}.{_PREFERRED}", listed(pod, _PREFERRED), _check_weighted_pod_term)
    return errors


def _check_node_affinity(path: str, affinity: Object) -> Errors:
    errors: Errors = []
    if (required := affinity.get(_REQUIRED)) is not None:
        errors += validate_node_selector(f"{path}.{_REQUIRED}", required)
    return errors + each(f"{path}.{_PREFERRED}", listed(affinity, _PREFERRED), _check_preferred_node_term)


def validate_node_selector(path: str, selector: Object) -> Errors:
    terms = listed(selector, "nodeSelectorTerms")
    if not terms:
        detail = "must have at least one node selector term"
        return [field_errors.required(f"{path}.nodeSelectorTerms", detail)]
    return each(f"{path}.nodeSelectorTerms", terms, _check_node_term)


def _check_node_term(path: str, term: Object) -> Errors:
    errors = each(f"{path}.matchExpressions", listed(term, "matchExpressions"), _check_node_requirement)
    return errors + each(f"{path}.matchFields", listed(term, "matchFields"), _check_node_field)


def _check_node_requirement(path: str, requirement: Object) -> Errors:
    operator, values = text(requirement, "operator"), listed(requirement, "values")
    errors = check_presence_of_values(path, operator, values)
    if operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(field_errors.required(f"{path}.values", detail))
    elif operator not in SET_OPERATORS:
        errors.append(field_errors.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return errors + named(f"{path}.key", text(requirement, "key"), names.qualified_name)


def _check_node_field(path: str, requirement: Object) -> Errors:
    errors: Errors = []
    operator, values, key = text(requirement, "operator"), listed(requirement, "values"), text(requirement, "key")
    if operator not in ("In", "NotIn"):
        errors.append(field_errors.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(field_errors.required(f"{path}.values", detail))
    if key != "metadata.name":
        errors.append(field_errors.invalid(f"{path}.key", key, "not a valid field selector key"))
        return errors
    for index, value in enumerate(values):
        errors += named(f"{path}.values[{index}]", value, names.dns_subdomain)
    return errors


def _check_preferred_node_term(path: str, term: Object) -> Errors:
    errors = _check_weight(path, term)
    return errors + _check_node_term(f"{path}.preference", mapping(term, "preference"))


def _check_weight(path: str, term: Object) -> Errors:
    weight = term.get("weight") or 0
    if 1 <= weight <= 100:
        return []
    return [field_errors.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _check_weighted_pod_term(path: str, term: Object) -> Errors:
    return _check_weight(path, term) + _check_pod_term(f"{path}.podAffinityTerm", mapping(term, "podAffinityTerm"))


def _check_pod_term(path: str, term: Object) -> Errors:
    errors = validate_selector(f"{path}.labelSelector", term.get("labelSelector"))
    errors += validate_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for index, namespace in enumerate(listed(term, "namespaces")):
        errors += named(f"{path}.namespaces[{index}]", namespace, names.dns_label)
    key = text(term, "topologyKey")
    if not key:
        errors.append(field_errors.required(f"{path}.topologyKey", "can not be empty"))
    return errors + named(f"{path}.topologyKey", key, names.qualified_name)


def validate_tolerations(path: str, tolerations: Sequence[Object]) -> Errors:
    return each(path, tolerations, _check_toleration)


def _check_toleration(path: str, toleration: Object) -> Errors:
    errors: Errors = []
    key, operator, value = text(toleration, "key"), text(toleration, "operator"), text(toleration, "value")
    effect, seconds = text(toleration, "effect"), toleration.get("tolerationSeconds")
    if key:
        errors += named(f"{path}.key", key, names.qualified_name)
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(field_errors.invalid(f"{path}.operator", operator, detail))
    if seconds is not None and effect != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(field_errors.invalid(f"{path}.effect", effect, detail))
    if operator in ("", "Equal"):
        if faults := names.label_value(value):
            errors.append(field_errors.invalid(f"{path}.operator", value, ";".join(faults)))
    elif operator == "Exists":
        if value:
            errors.append(field_errors.invalid(path, toleration, "value must be empty when `operator` is 'Exists'"))
    else:
        errors.append(field_errors.not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    return errors + (one_of(f"{path}.effect", effect, _EFFECTS) if effect else [])


def validate_spread(path: str, constraints: Sequence[Object]) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        where = f"{path}[{index}]"
        errors += _check_spread(where, constraint)
        key, action = text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable")
        if (key, action) in seen:
            shown = f"{{{key}, {action}}}"
            errors.append(field_errors.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", shown))
        seen.add((key, action))
    return errors


def _check_spread(path: str, constraint: Object) -> Errors:
    errors: Errors = []
    skew = constraint.get("maxSkew") or 0
    if skew <= 0:
        errors.append(field_errors.invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
    key = text(constraint, "topologyKey")
    if not key:
        errors.append(field_errors.required(f"{path}.topologyKey", "can not be empty"))
    else:
        errors += validate_labels({key: ""}, f"{path}.topologyKey")
    action = text(constraint, "whenUnsatisfiable")
    errors += one_of(f"{path}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
    domains = constraint.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errors.append(field_errors.invalid(f"{path}.minDomains", domains, "must be greater than zero"))
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            errors.append(field_errors.invalid(f"{path}.minDomains", domains, detail))
    for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if constraint.get(policy) is not None:
            errors += one_of(f"{path}.{policy}", constraint[policy], ("Honor", "Ignore"))
    return errors + validate_selector(f"{path}.labelSelector", constraint.get("labelSelector"))


def validate_deadline(path: str, seconds: int | None) -> Errors:
    return within(path, seconds, 1, 2**31 - 1)
