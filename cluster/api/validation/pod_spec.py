"""
Validation of a pod's spec, in pods and in templates.

Source: k8s.io/kubernetes, pkg/apis/core/validation (ValidatePodSpec), in its order.
"""

from cluster.api.validation.containers import validate_containers
from cluster.api.validation.metadata import validate_annotations, validate_labels
from cluster.api.validation.resource_amounts import validate_requirements
from cluster.api.validation.rules import (
    Errors,
    each,
    ip_address,
    listed,
    mapping,
    named,
    not_negative_quantity,
    one_of,
    required_name,
    text,
)
from cluster.api.validation.scheduling import (
    validate_affinity,
    validate_deadline,
    validate_spread,
    validate_tolerations,
)
from cluster.api.validation.security_context import validate_pod_context
from cluster.api.validation.volumes import validate_volumes
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_SERVERS_LIMIT, _SEARCH_LIMIT, _SEARCH_CHARACTERS = 3, 32, 2048


def validate_template_metadata(path: str, template: Object) -> Errors:
    metadata = mapping(template, "metadata")
    errors = validate_labels(mapping(metadata, "labels"), f"{path}.labels")
    return errors + validate_annotations(mapping(metadata, "annotations"), f"{path}.annotations")


def validate_template(path: str, template: Object) -> Errors:
    """Labels, annotations and spec of a pod template."""
    errors = validate_template_metadata(path, template)
    spec = mapping(template, "spec")
    errors += validate_pod_spec(f"{path}.spec", spec)
    if listed(spec, "ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(field_errors.forbidden(f"{path}.spec.ephemeralContainers", detail))
    return errors


def validate_pod_spec(path: str, spec: Object) -> Errors:
    volumes, errors = validate_volumes(listed(spec, "volumes"), f"{path}.volumes")
    errors += validate_containers(spec, path, volumes, spec.get("terminationGracePeriodSeconds"))
    if spec.get("resources") is not None:
        errors += validate_requirements(f"{path}.resources", mapping(spec, "resources"))
    errors += _check_host_network(path, spec)
    errors += _check_policy(f"{path}.restartPolicy", text(spec, "restartPolicy"), RESTART_POLICIES)
    errors += _check_policy(f"{path}.dnsPolicy", text(spec, "dnsPolicy"), DNS_POLICIES)
    errors += validate_labels(mapping(spec, "nodeSelector"), f"{path}.nodeSelector")
    errors += validate_pod_context(f"{path}.securityContext", spec.get("securityContext"), spec)
    errors += _check_pull_secrets(path, spec)
    errors += validate_affinity(f"{path}.affinity", spec.get("affinity"))
    errors += _check_dns_config(f"{path}.dnsConfig", spec)
    errors += each(f"{path}.readinessGates", listed(spec, "readinessGates"), _check_readiness_gate)
    errors += _check_scheduling_gates(f"{path}.schedulingGates", spec)
    errors += validate_spread(f"{path}.topologySpreadConstraints", listed(spec, "topologySpreadConstraints"))
    return errors + _check_names_and_limits(path, spec)


def _check_names_and_limits(path: str, spec: Object) -> Errors:
    errors: Errors = []
    for key, check in (("serviceAccountName", names.dns_subdomain), ("nodeName", names.dns_subdomain)):
        if value := text(spec, key):
            errors += named(f"{path}.{key}", value, check)
    errors += validate_deadline(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"))
    for key in ("hostname", "subdomain"):
        if value := text(spec, key):
            errors += named(f"{path}.{key}", value, names.dns_label)
    errors += validate_tolerations(f"{path}.tolerations", listed(spec, "tolerations"))
    for alias in listed(spec, "hostAliases"):
        errors += ip_address(f"{path}.hostAliases.ip", text(alias, "ip"))
        for host in listed(alias, "hostnames"):
            errors += named(f"{path}.hostAliases.hostnames", host, names.dns_subdomain)
    for key in ("priorityClassName", "runtimeClassName"):
        if value := text(spec, key):
            errors += named(f"{path}.{key}", value, names.dns_subdomain)
    if (policy := spec.get("preemptionPolicy")) is not None:
        errors += _check_policy(f"{path}.preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))
    for name, amount in sorted(mapping(spec, "overhead").items()):
        errors += not_negative_quantity(f"{path}.overhead[{name}]", amount)
    if (system := spec.get("os")) is not None:
        errors += _check_policy(f"{path}.os.name", text(system, "name"), ("linux", "windows"))
    return errors


def _check_policy(path: str, value: str, supported: tuple[str, ...]) -> Errors:
    return one_of(path, value, supported) if value else [field_errors.required(path)]


def _check_host_network(path: str, spec: Object) -> Errors:
    """On the host's network a container's port is the host's port."""
    if not spec.get("hostNetwork"):
        return []
    errors: Errors = []
    for index, container in enumerate(listed(spec, "containers")):
        for number, port in enumerate(listed(container, "ports")):
            if port.get("hostPort") and port["hostPort"] != port.get("containerPort"):
                where = f"{path}.containers[{index}].ports[{number}].containerPort"
                detail = "must match `hostPort` when `hostNetwork` is true"
                errors.append(field_errors.invalid(where, port.get("containerPort"), detail))
    return errors


def _check_pull_secrets(path: str, spec: Object) -> Errors:
    return [
        field_errors.required(f"{path}.imagePullSecrets[{index}].name")
        for index, secret in enumerate(listed(spec, "imagePullSecrets"))
        if secret == {"name": None}
    ]


def _check_readiness_gate(path: str, gate: Object) -> Errors:
    return named(f"{path}.conditionType", text(gate, "conditionType"), names.qualified_name)


def _check_scheduling_gates(path: str, spec: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, gate in enumerate(listed(spec, "schedulingGates")):
        name = text(gate, "name")
        errors += named(f"{path}[{index}]", name, names.qualified_name)
        if name in seen:
            errors.append(field_errors.duplicate(f"{path}[{index}]", name))
        seen.add(name)
    return errors


def _check_dns_config(path: str, spec: Object) -> Errors:
    config = spec.get("dnsConfig")
    servers = listed(config or {}, "nameservers")
    errors: Errors = []
    if text(spec, "dnsPolicy") == "None":
        if config is None:
            detail = "must provide `dnsConfig` when `dnsPolicy` is None"
            return [field_errors.required(path, detail)]
        if not servers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [field_errors.required(f"{path}.nameservers", detail)]
    if config is None:
        return errors
    if len(servers) > _SERVERS_LIMIT:
        detail = f"must not have more than {_SERVERS_LIMIT} nameservers"
        errors.append(field_errors.invalid(f"{path}.nameservers", servers, detail))
    errors += each(f"{path}.nameservers", servers, ip_address)
    searches = listed(config, "searches")
    if len(searches) > _SEARCH_LIMIT:
        detail = f"must not have more than {_SEARCH_LIMIT} search paths"
        errors.append(field_errors.invalid(f"{path}.searches", searches, detail))
    if len(" ".join(searches)) > _SEARCH_CHARACTERS:
        detail = f"must not have more than {_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        errors.append(field_errors.invalid(f"{path}.searches", searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            trimmed = search.removesuffix(".")
            faults = names.dns_subdomain(trimmed.replace("_", "x"))
            errors += [field_errors.invalid(f"{path}.searches[{index}]", trimmed, fault) for fault in faults]
    for index, option in enumerate(listed(config, "options")):
        errors += required_name(f"{path}.options[{index}]", text(option, "name"), lambda name: [], "must not be empty")
    return errors
