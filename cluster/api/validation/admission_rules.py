"""
Validation of rules that say which requests a webhook or a policy concerns.

Source: k8s.io/kubernetes, pkg/apis/admissionregistration/validation (validateRuleWithOperations, validateRule).
"""

from collections.abc import Sequence

from cluster.api.validation.rules import Errors, listed, one_of
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def validate_rule(path: str, rule: Object) -> Errors:
    operations = listed(rule, "operations")
    errors = [] if operations else [field_errors.required(f"{path}.operations")]
    errors += _alone(f"{path}.operations", operations, "operations")
    for index, operation in enumerate(operations):
        errors += one_of(f"{path}.operations[{index}]", operation, _OPERATIONS)
    for key, shown in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        given = listed(rule, key)
        errors += [] if given else [field_errors.required(f"{path}.{key}")]
        errors += _alone(f"{path}.{key}", given, shown)
    errors += [
        field_errors.required(f"{path}.apiVersions[{index}]")
        for index, version in enumerate(listed(rule, "apiVersions"))
        if not version
    ]
    errors += _check_resources(f"{path}.resources", listed(rule, "resources"))
    if (scope := rule.get("scope")) is not None:
        errors += one_of(f"{path}.scope", scope, ("*", "Cluster", "Namespaced"))
    return errors


def validate_named_rule(path: str, rule: Object) -> Errors:
    """A rule of a policy, which may name objects as well."""
    errors: Errors = []
    seen: set[str] = set()
    for index, name in enumerate(listed(rule, "resourceNames")):
        place = f"{path}.resourceNames[{index}]"
        errors += [field_errors.invalid(place, name, fault) for fault in names.path_segment(name)]
        if name in seen:
            errors.append(field_errors.duplicate(place, name))
        seen.add(name)
    return errors + validate_rule(path, rule)


def _alone(path: str, values: Sequence[str], shown: str) -> Errors:
    if len(values) > 1 and "*" in values:
        return [field_errors.invalid(path, list(values), f"if '*' is present, must not specify other {shown}")]
    return []


def _check_resources(path: str, resources: Sequence[str]) -> Errors:
    errors = [] if resources else [field_errors.required(path)]
    any_subresource: set[str] = set()
    any_resource: set[str] = set()
    whole = False
    for index, name in enumerate(resources):
        place = f"{path}[{index}]"
        if not name:
            errors.append(field_errors.required(place))
            continue
        resource, slash, subresource = name.partition("/")
        if not slash:
            whole = name != "*"
            continue
        if resource in any_subresource:
            detail = f"if '{resource}/*' is present, must not specify {name}"
            errors.append(field_errors.invalid(place, name, detail))
        if subresource in any_resource:
            detail = f"if '*/{subresource}' is present, must not specify {name}"
            errors.append(field_errors.invalid(place, name, detail))
        if subresource == "*":
            any_subresource.add(resource)
        if resource == "*":
            any_resource.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        detail = "if '*/*' is present, must not specify other resources"
        errors.append(field_errors.invalid(path, list(resources), detail))
    if "*" in resources and whole:
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.append(field_errors.invalid(path, list(resources), detail))
    return errors
