"""Validation of RBAC objects. Source: k8s.io/kubernetes, pkg/apis/rbac/validation."""

from cluster.api.validation.rules import Errors, listed, mapping, named, required_name, text
from cluster.api.validation.selectors import validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

GROUP = "rbac.authorization.k8s.io"


def validate_role(role: Object) -> Errors:
    return _check_rules(role, namespaced=True)


def validate_cluster_role(role: Object) -> Errors:
    errors = _check_rules(role, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is None:
        return errors
    selectors = listed(aggregation, "clusterRoleSelectors")
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [*errors, field_errors.required("aggregationRule.clusterRoleSelectors", detail)]
    for index, selector in enumerate(selectors):
        errors += validate_selector(f"aggregationRule.clusterRoleSelectors[{index}]", selector)
    return errors


def _check_rules(role: Object, *, namespaced: bool) -> Errors:
    errors: Errors = []
    for index, rule in enumerate(listed(role, "rules")):
        errors += _check_rule(f"rules[{index}]", rule, namespaced=namespaced)
    return errors


def _check_rule(path: str, rule: Object, *, namespaced: bool) -> Errors:
    errors: Errors = []
    if not listed(rule, "verbs"):
        errors.append(field_errors.required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = listed(rule, "nonResourceURLs")
    if urls:
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(field_errors.invalid(f"{path}.nonResourceURLs", urls, detail))
        if any(listed(rule, key) for key in ("apiGroups", "resources", "resourceNames")):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(field_errors.invalid(f"{path}.nonResourceURLs", urls, detail))
        return errors
    if not listed(rule, "apiGroups"):
        errors.append(field_errors.required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not listed(rule, "resources"):
        errors.append(field_errors.required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def validate_role_binding(binding: Object) -> Errors:
    return _check_binding(binding, ("Role", "ClusterRole"))


def validate_cluster_role_binding(binding: Object) -> Errors:
    return _check_binding(binding, ("ClusterRole",))


def _check_binding(binding: Object, kinds: tuple[str, ...]) -> Errors:
    role = mapping(binding, "roleRef")
    errors: Errors = []
    if text(role, "apiGroup") != GROUP:
        errors.append(field_errors.not_supported("roleRef.apiGroup", text(role, "apiGroup"), (GROUP,)))
    if text(role, "kind") not in kinds:
        errors.append(field_errors.not_supported("roleRef.kind", text(role, "kind"), kinds))
    errors += required_name("roleRef.name", text(role, "name"), names.path_segment)
    for index, subject in enumerate(listed(binding, "subjects")):
        errors += _check_subject(f"subjects[{index}]", subject)
    return errors


def _check_subject(path: str, subject: Object) -> Errors:
    name, group, kind = text(subject, "name"), text(subject, "apiGroup"), text(subject, "kind")
    errors = [] if name else [field_errors.required(f"{path}.name")]
    match kind:
        case "ServiceAccount":
            errors += named(f"{path}.name", name, names.dns_subdomain) if name else []
            if group:
                errors.append(field_errors.not_supported(f"{path}.apiGroup", group, ("",)))
            if not text(subject, "namespace"):
                errors.append(field_errors.required(f"{path}.namespace"))
        case "User" | "Group":
            if group != GROUP:
                errors.append(field_errors.not_supported(f"{path}.apiGroup", group, (GROUP,)))
        case _:
            errors.append(field_errors.not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return errors


def validate_role_binding_update(new: Object, old: Object) -> Errors:
    return validate_role_binding(new) + _same_role(new, old)


def validate_cluster_role_binding_update(new: Object, old: Object) -> Errors:
    return validate_cluster_role_binding(new) + _same_role(new, old)


def _same_role(new: Object, old: Object) -> Errors:
    """A binding to another role is another binding: who may make one depends on the role."""
    if mapping(new, "roleRef") == mapping(old, "roleRef"):
        return []
    role = mapping(new, "roleRef")
    shown = {"APIGroup": text(role, "apiGroup"), "Kind": text(role, "kind"), "Name": text(role, "name")}
    return [field_errors.invalid("roleRef", shown, "cannot change roleRef")]
