"""
Validation of containers: names, images, ports, environment, mounts, probes, hooks.

Source: k8s.io/kubernetes, pkg/apis/core/validation.
"""

from collections.abc import Mapping, Sequence

from cluster.api.validation.probes import validate_lifecycle, validate_probes
from cluster.api.validation.resource_amounts import validate_requirements
from cluster.api.validation.rules import (
    Errors,
    config_key,
    duplicates,
    each,
    environment_name,
    listed,
    mapping,
    named,
    one_of,
    port_name,
    port_number,
    required_name,
    text,
)
from cluster.api.validation.security_context import validate_container_context
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object
from cluster.machinery.quantity import QuantityError, parse_quantity

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_POD_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
               "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")  # fmt: skip
_RESOURCE_FIELDS = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
                    "requests.ephemeral-storage", "requests.memory")  # fmt: skip


def validate_containers(spec: Object, path: str, volumes: Mapping[str, Object], grace_seconds: int | None) -> Errors:
    """The containers, init containers and ephemeral containers of one pod spec."""
    containers = listed(spec, "containers")
    if not containers:
        return [field_errors.required(f"{path}.containers")]
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where = f"{path}.containers[{index}]"
        errors += _check_container(where, container, volumes, seen)
        errors += validate_lifecycle(f"{where}.lifecycle", container.get("lifecycle"), grace_seconds)
        errors += validate_probes(where, container, grace_seconds)
    errors += _check_host_ports(containers, f"{path}.containers")
    for index, container in enumerate(listed(spec, "initContainers")):
        errors += _check_init_container(f"{path}.initContainers[{index}]", container, volumes, seen, grace_seconds)
    for index, container in enumerate(listed(spec, "ephemeralContainers")):
        errors += _check_ephemeral(f"{path}.ephemeralContainers[{index}]", container, volumes, seen)
    return errors


def _check_container(path: str, container: Object, volumes: Mapping[str, Object], seen: set[str]) -> Errors:
    errors = _check_common(path, container, volumes)
    name = text(container, "name")
    if name in seen:
        errors.append(field_errors.duplicate(f"{path}.name", name))
    seen.add(name)
    return errors


def _check_common(path: str, container: Object, volumes: Mapping[str, Object]) -> Errors:
    errors = required_name(f"{path}.name", text(container, "name"), names.dns_label)
    image = text(container, "image")
    if not image:
        errors.append(field_errors.required(f"{path}.image"))
    elif image != image.strip():
        detail = "must not have leading or trailing whitespace"
        errors.append(field_errors.invalid(f"{path}.image", image, detail))
    policy = text(container, "terminationMessagePolicy")
    errors += one_of(f"{path}.terminationMessagePolicy", policy, ("FallbackToLogsOnError", "File")) if policy else []
    errors += _check_ports(listed(container, "ports"), f"{path}.ports")
    errors += each(f"{path}.env", listed(container, "env"), check_environment)
    errors += each(f"{path}.envFrom", listed(container, "envFrom"), _check_environment_source)
    errors += _check_mounts(listed(container, "volumeMounts"), f"{path}.volumeMounts", volumes)
    errors += _check_devices(container, path, volumes)
    errors += required_pull_policy(f"{path}.imagePullPolicy", text(container, "imagePullPolicy"))
    errors += validate_requirements(f"{path}.resources", mapping(container, "resources"))
    return errors + validate_container_context(f"{path}.securityContext", container.get("securityContext"))


def required_pull_policy(path: str, policy: str) -> Errors:
    return one_of(path, policy, PULL_POLICIES) if policy else [field_errors.required(path)]


def _check_init_container(
    path: str, container: Object, volumes: Mapping[str, Object], seen: set[str], grace_seconds: int | None
) -> Errors:
    errors = _check_container(path, container, volumes, seen)
    errors += _check_host_ports([container], path, single=True)
    policy = container.get("restartPolicy")
    if policy == "Always":
        errors += validate_lifecycle(f"{path}.lifecycle", container.get("lifecycle"), grace_seconds)
        return errors + validate_probes(path, container, grace_seconds)
    for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(key) is not None:
            detail = "may not be set for init containers without restartPolicy=Always"
            errors.append(field_errors.forbidden(f"{path}.{key}", detail))
    return errors


def _check_ephemeral(path: str, container: Object, volumes: Mapping[str, Object], seen: set[str]) -> Errors:
    errors = _check_container(path, container, volumes, seen)
    target = text(container, "targetContainerName")
    if target and target not in seen:
        errors.append(field_errors.not_found(f"{path}.targetContainerName", target))
    for key in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"):
        if container.get(key):
            errors.append(field_errors.forbidden(f"{path}.{key}", "cannot be set for an Ephemeral Container"))
    for index, mount in enumerate(listed(container, "volumeMounts")):
        for key in ("subPath", "subPathExpr"):
            if mount.get(key):
                detail = "cannot be set for an Ephemeral Container"
                errors.append(field_errors.forbidden(f"{path}.volumeMounts[{index}].{key}", detail))
    return errors


def _check_ports(ports: Sequence[Object], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = text(port, "name")
        if name:
            faults = port_name(name)
            errors += [field_errors.invalid(f"{where}.name", name, fault) for fault in faults]
            if not faults and name in seen:
                errors.append(field_errors.duplicate(f"{where}.name", name))
            seen.add(name)
        number = port.get("containerPort") or 0
        errors += (
            [field_errors.required(f"{where}.containerPort")]
            if number == 0
            else port_number(f"{where}.containerPort", number)
        )
        if host_port := port.get("hostPort"):
            errors += port_number(f"{where}.hostPort", host_port)
        protocol = text(port, "protocol")
        errors += (
            one_of(f"{where}.protocol", protocol, PROTOCOLS)
            if protocol
            else [field_errors.required(f"{where}.protocol")]
        )
    return errors


def _check_host_ports(containers: Sequence[Object], path: str, *, single: bool = False) -> Errors:
    """No two containers of a pod want the same port of the host."""
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where = path if single else f"{path}[{index}]"
        for number, port in enumerate(listed(container, "ports")):
            if not (host_port := port.get("hostPort")):
                continue
            key = f"{text(port, 'protocol')}/{text(port, 'hostIP')}/{host_port}"
            if key in seen:
                errors.append(field_errors.duplicate(f"{where}.ports[{number}].hostPort", key))
            seen.add(key)
    return errors


def check_environment(path: str, variable: Object) -> Errors:
    name = text(variable, "name")
    errors = required_name(f"{path}.name", name, environment_name)
    source = variable.get("valueFrom")
    return errors + (
        _check_value_from(f"{path}.valueFrom", source, text(variable, "value")) if source is not None else []
    )


def _check_value_from(path: str, source: Object, value: str) -> Errors:
    errors: Errors = []
    given = [key for key in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
             if source.get(key) is not None]  # fmt: skip
    if "fieldRef" in given:
        errors += check_field_reference(f"{path}.fieldRef", source["fieldRef"], _POD_FIELDS)
    if "resourceFieldRef" in given:
        errors += check_resource_reference(f"{path}.resourceFieldRef", source["resourceFieldRef"], in_volume=False)
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in given:
            errors += _check_key_reference(f"{path}.{key}", source[key])
    if not given:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        errors.append(field_errors.invalid(path, "", detail))
    elif value:
        errors.append(field_errors.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(field_errors.invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def check_field_reference(path: str, reference: Object, supported: Sequence[str]) -> Errors:
    """A field of the pod by path; labels and annotations also by key."""
    if not text(reference, "apiVersion"):
        return [field_errors.required(f"{path}.apiVersion")]
    field = text(reference, "fieldPath")
    if not field:
        return [field_errors.required(f"{path}.fieldPath")]
    base, bracket, key = field.partition("['")
    if bracket and key.endswith("']"):
        key = key.removesuffix("']")
        if base == "metadata.annotations":
            return named(path, key.lower(), names.qualified_name)
        if base == "metadata.labels":
            return named(path, key, names.qualified_name)
        return [field_errors.invalid(path, base, "does not support subscript")]
    return one_of(f"{path}.fieldPath", field, supported)


def check_resource_reference(path: str, reference: Object, *, in_volume: bool) -> Errors:
    """An amount of a container's resources. A volume serves all containers, so it must say whose."""
    if in_volume and not text(reference, "containerName"):
        return [field_errors.required(f"{path}.containerName")]
    resource = text(reference, "resource")
    if not resource:
        return [field_errors.required(f"{path}.resource")]
    if resource not in _RESOURCE_FIELDS and ".hugepages-" not in resource:
        return one_of(f"{path}.resource", resource, _RESOURCE_FIELDS)
    return _check_divisor(f"{path}.divisor", resource, reference.get("divisor") or "0")


def _check_divisor(path: str, resource: str, divisor: str) -> Errors:
    try:
        if not parse_quantity(divisor):
            return []
    except QuantityError as error:
        return [field_errors.invalid(path, divisor, str(error))]
    if resource.endswith(".cpu"):
        supported: tuple[str, ...] = ("1m", "1")
        kind = "cpu"
    else:
        supported, kind = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"), "memory"
    if divisor in supported:
        return []
    wanted = "1m and 1" if kind == "cpu" else "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
    return [
        field_errors.invalid(path, resource, f"only divisor's values {wanted} are supported with the {kind} resource")
    ]


def _check_key_reference(path: str, reference: Object) -> Errors:
    """A key of a Secret or ConfigMap."""
    name, key = text(reference, "name"), text(reference, "key")
    errors = named(f"{path}.name", name, names.dns_subdomain) if name else []
    return errors + required_name(f"{path}.key", key, config_key)


def _check_environment_source(path: str, source: Object) -> Errors:
    errors: Errors = []
    if prefix := text(source, "prefix"):
        errors += named(f"{path}.prefix", prefix, environment_name)
    given = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
    for key in given:
        name = text(source[key], "name")
        errors += required_name(f"{path}.{key}.name", name, names.dns_subdomain)
    if not given:
        errors.append(field_errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        errors.append(field_errors.invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _check_mounts(mounts: Sequence[Object], path: str, volumes: Mapping[str, Object]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = text(mount, "name"), text(mount, "mountPath")
        if not name:
            errors.append(field_errors.required(f"{where}.name"))
        if name not in volumes:
            errors.append(field_errors.not_found(f"{where}.name", name))
        if not target:
            errors.append(field_errors.required(f"{where}.mountPath"))
        if target in seen:
            errors.append(field_errors.invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        errors += _check_sub_path(mount, where)
        propagation = mount.get("mountPropagation")
        if propagation is not None:
            supported = ("Bidirectional", "HostToContainer", "None")
            errors += one_of(f"{where}.mountPropagation", propagation, supported)
    return errors


def _check_sub_path(mount: Object, path: str) -> Errors:
    errors: Errors = []
    for key in ("subPath", "subPathExpr"):
        value = text(mount, key)
        if value.startswith("/"):
            errors.append(field_errors.invalid(f"{path}.{key}", value, "must be a relative path"))
        elif ".." in value.split("/"):
            errors.append(field_errors.invalid(f"{path}.{key}", value, "must not contain '..'"))
    if text(mount, "subPath") and text(mount, "subPathExpr"):
        detail = "subPathExpr and subPath are mutually exclusive"
        errors.append(field_errors.invalid(f"{path}.subPathExpr", text(mount, "subPathExpr"), detail))
    return errors


def _check_devices(container: Object, path: str, volumes: Mapping[str, Object]) -> Errors:
    errors: Errors = []
    devices = listed(container, "volumeDevices")
    mounted = {text(mount, "name") for mount in listed(container, "volumeMounts")}
    errors += duplicates(f"{path}.volumeDevices", ((i, text(d, "devicePath")) for i, d in enumerate(devices)))
    for index, device in enumerate(devices):
        where = f"{path}.volumeDevices[{index}]"
        name, target = text(device, "name"), text(device, "devicePath")
        if not name:
            errors.append(field_errors.required(f"{where}.name"))
        if name in mounted:
            detail = "must not already exist in volumeMounts"
            errors.append(field_errors.invalid(f"{where}.name", name, detail))
        if name not in volumes:
            errors.append(field_errors.not_found(f"{where}.name", name))
        if not target:
            errors.append(field_errors.required(f"{where}.devicePath"))
        elif ".." in target.split("/"):
            errors.append(field_errors.invalid(f"{where}.devicePath", target, "must not contain '..'"))
    return errors
