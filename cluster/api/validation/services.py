"""
Validation of Services, Endpoints and EndpointSlices.

Source: k8s.io/kubernetes, pkg/apis/core/validation (ValidateService) and pkg/apis/discovery/validation.
"""

from collections.abc import Sequence

from cluster.api.validation.containers import PROTOCOLS
from cluster.api.validation.metadata import validate_labels
from cluster.api.validation.rules import (
    Errors,
    cidr,
    each,
    immutable,
    ip_address,
    listed,
    mapping,
    named,
    one_of,
    parsed_ip,
    port_number,
    port_or_name,
    required_name,
    required_one_of,
    text,
)
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_KUBELET_PORT = 10250
_MAX_AFFINITY_SECONDS = 86_400
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def validate_service(service: Object) -> Errors:
    spec = mapping(service, "spec")
    kind, ports = text(spec, "type"), listed(spec, "ports")
    headless = text(spec, "clusterIP") == "None"
    errors: Errors = []
    if not ports and not headless and kind != "ExternalName":
        errors.append(field_errors.required("spec.ports"))
    errors += _check_kind(spec, kind, ports, headless=headless)
    errors += _check_ports(ports)
    errors += validate_labels(mapping(spec, "selector"), "spec.selector")
    errors += _check_affinity(spec)
    errors += _check_addresses(spec)
    errors += each("spec.externalIPs", listed(spec, "externalIPs"), endpoint_address)
    errors += required_one_of("spec.type", kind, TYPES)
    if kind == "ClusterIP":
        errors += [
            field_errors.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for i, port in enumerate(ports)
            if port.get("nodePort")
        ]
    errors += _check_unique_ports(ports)
    errors += _check_load_balancer(spec, kind)
    return errors + _check_traffic(spec, kind)


def _check_kind(spec: Object, kind: str, ports: Sequence[Object], *, headless: bool) -> Errors:
    errors: Errors = []
    if kind == "LoadBalancer":
        detail = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
        errors += [
            field_errors.invalid(f"spec.ports[{index}].port", _KUBELET_PORT, detail)
            for index, port in enumerate(ports)
            if port.get("port") == _KUBELET_PORT
        ]
    if kind in ("LoadBalancer", "NodePort") and headless:
        detail = f"may not be set to 'None' for {kind} services"
        errors.append(field_errors.invalid("spec.clusterIPs[0]", "None", detail))
    if kind == "ExternalName":
        if spec.get("clusterIP") or spec.get("clusterIPs"):
            detail = "may not be set for ExternalName services"
            errors.append(field_errors.forbidden("spec.clusterIPs", detail))
        name = text(spec, "externalName").removesuffix(".")
        errors += required_name("spec.externalName", name, names.dns_subdomain)
    return errors


def _check_ports(ports: Sequence[Object]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"spec.ports[{index}]", text(port, "name")
        if not name:
            if len(ports) > 1:
                errors.append(field_errors.required(f"{path}.name"))
        else:
            errors += named(f"{path}.name", name, names.dns_label)
            if name in seen:
                errors.append(field_errors.duplicate(f"{path}.name", name))
            seen.add(name)
        errors += port_number(f"{path}.port", port.get("port") or 0)
        errors += required_one_of(f"{path}.protocol", text(port, "protocol"), PROTOCOLS)
        errors += port_or_name(f"{path}.targetPort", port.get("targetPort"))
        if (protocol := port.get("appProtocol")) is not None:
            errors += named(f"{path}.appProtocol", protocol, names.qualified_name)
    return errors


def _check_unique_ports(ports: Sequence[Object]) -> Errors:
    errors: Errors = []
    for field, shown_as in (("nodePort", "NodePort"), ("port", "Port")):
        seen: set[tuple[str, int]] = set()
        for index, port in enumerate(ports):
            key = (text(port, "protocol"), port.get(field) or 0)
            if not key[1]:
                continue
            if key in seen:
                shown = {"Name": "", "Protocol": key[0], "AppProtocol": None, "Port": 0, "TargetPort": 0, "NodePort": 0}
                where = f"spec.ports[{index}]" + (".nodePort" if field == "nodePort" else "")
                errors.append(field_errors.duplicate(where, {**shown, shown_as: key[1]}))
            seen.add(key)
    return errors


def _check_affinity(spec: Object) -> Errors:
    affinity, config = text(spec, "sessionAffinity"), spec.get("sessionAffinityConfig")
    errors = required_one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    path = "spec.sessionAffinityConfig"
    if affinity == "None" and config is not None:
        errors.append(field_errors.forbidden(path, "must not be set when session affinity is None"))
    if affinity == "ClientIP":
        if config is None:
            return [*errors, field_errors.required(path, "when session affinity type is ClientIP")]
        seconds = mapping(config, "clientIP").get("timeoutSeconds")
        if seconds is None:
            detail = "when session affinity type is ClientIP"
            return [*errors, field_errors.required(f"{path}.clientIP.timeoutSeconds", detail)]
        if not 0 < seconds <= _MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
            errors.append(field_errors.invalid(f"{path}.clientIP.timeoutSeconds", seconds, detail))
    return errors


def _check_addresses(spec: Object) -> Errors:
    addresses = listed(spec, "clusterIPs") or [address for address in [text(spec, "clusterIP")] if address]
    errors: Errors = []
    if text(spec, "clusterIP") and addresses and addresses[0] != text(spec, "clusterIP"):
        detail = "first value must match `clusterIP`"
        errors.append(field_errors.invalid("spec.clusterIPs", addresses, detail))
    for index, family in enumerate(listed(spec, "ipFamilies")):
        errors += one_of(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        if family in listed(spec, "ipFamilies")[:index]:
            errors.append(field_errors.duplicate(f"spec.ipFamilies[{index}]", family))
    if (policy := spec.get("ipFamilyPolicy")) is not None:
        supported = ("SingleStack", "PreferDualStack", "RequireDualStack")
        errors += one_of("spec.ipFamilyPolicy", policy, supported)
    for index, address in enumerate(addresses):
        if address == "None":
            if index:
                detail = "'None' must be the first and only value"
                errors.append(field_errors.invalid(f"spec.clusterIPs[{index}]", address, detail))
        else:
            errors += ip_address(f"spec.clusterIPs[{index}]", address)
    if len(addresses) > 2:
        detail = "may only hold up to 2 values"
        errors.append(field_errors.invalid("spec.clusterIPs", addresses, detail))
    return errors


def _check_load_balancer(spec: Object, kind: str) -> Errors:
    errors: Errors = []
    only = "may only be used when `type` is 'LoadBalancer'"
    ranges = listed(spec, "loadBalancerSourceRanges")
    if ranges:
        if kind != "LoadBalancer":
            errors.append(field_errors.forbidden("spec.loadBalancerSourceRanges", only))
        errors += each("spec.loadBalancerSourceRanges", ranges, lambda path, value: cidr(path, value.strip()))
    if kind == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            errors.append(field_errors.required("spec.allocateLoadBalancerNodePorts"))
    elif spec.get("allocateLoadBalancerNodePorts") is not None:
        errors.append(field_errors.forbidden("spec.allocateLoadBalancerNodePorts", only))
    if spec.get("loadBalancerClass") is not None and kind != "LoadBalancer":
        errors.append(field_errors.forbidden("spec.loadBalancerClass", only))
    return errors


def _check_traffic(spec: Object, kind: str) -> Errors:
    errors: Errors = []
    external = kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(listed(spec, "externalIPs")))
    policy = text(spec, "externalTrafficPolicy")
    if not external:
        if policy:
            detail = "may only be set for externally-accessible services"
            errors.append(field_errors.invalid("spec.externalTrafficPolicy", policy, detail))
    else:
        errors += required_one_of("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    if (port := spec.get("healthCheckNodePort")) and not (kind == "LoadBalancer" and policy == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(field_errors.invalid("spec.healthCheckNodePort", port, detail))
    inner = spec.get("internalTrafficPolicy")
    if inner is None:
        if kind in ("ClusterIP", "LoadBalancer", "NodePort"):
            errors.append(field_errors.required("spec.internalTrafficPolicy"))
    else:
        errors += one_of("spec.internalTrafficPolicy", inner, ("Cluster", "Local"))
    if (distribution := spec.get("trafficDistribution")) is not None:
        errors += one_of("spec.trafficDistribution", distribution, _DISTRIBUTIONS)
    return errors


def validate_service_update(new: Object, old: Object) -> Errors:
    """A cluster address stays once it was given, unless the service turns into an ExternalName or back."""
    errors: Errors = []
    new_spec, old_spec = mapping(new, "spec"), mapping(old, "spec")
    if "ExternalName" not in (new_spec.get("type"), old_spec.get("type")):
        before, after = listed(old_spec, "clusterIPs"), listed(new_spec, "clusterIPs")
        errors += [
            field_errors.invalid(f"spec.clusterIPs[{index}]", after, "may not change once set")
            for index, (old_address, new_address) in enumerate(zip(before, after, strict=False))
            if old_address != new_address
        ]
    if old_spec.get("type") == new_spec.get("type") == "LoadBalancer":
        before_class, after_class = old_spec.get("loadBalancerClass"), new_spec.get("loadBalancerClass")
        if before_class != after_class:
            detail = "may not change once set"
            errors.append(field_errors.invalid("spec.loadBalancerClass", after_class, detail))
    return errors + validate_service(new)


def endpoint_address(path: str, value: str) -> Errors:
    """An address that another host can reach."""
    address = parsed_ip(value)
    if address is None:
        return ip_address(path, value)
    details = []
    if address.is_unspecified:
        details.append(f"may not be unspecified ({address})")
    if address.is_loopback:
        details.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        details.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast and str(address).startswith(("224.0.0.", "ff02:")):
        details.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return [field_errors.invalid(path, value, detail) for detail in details]


def validate_endpoints(endpoints: Object) -> Errors:
    return each("subsets", listed(endpoints, "subsets"), _check_subset)


def _check_subset(path: str, subset: Object) -> Errors:
    ready, waiting, ports = (listed(subset, key) for key in ("addresses", "notReadyAddresses", "ports"))
    errors: Errors = []
    if not ready and not waiting:
        detail = "must specify `addresses` or `notReadyAddresses`"
        errors.append(field_errors.required(path, detail))
    for key, addresses in (("addresses", ready), ("notReadyAddresses", waiting)):
        for index, address in enumerate(addresses):
            where = f"{path}.{key}[{index}]"
            errors += endpoint_address(f"{where}.ip", text(address, "ip"))
            if hostname := text(address, "hostname"):
                errors += named(f"{where}.hostname", hostname, names.dns_label)
    for index, port in enumerate(ports):
        where, name = f"{path}.ports[{index}]", text(port, "name")
        if len(ports) > 1 and not name:
            errors.append(field_errors.required(f"{where}.name"))
        elif name:
            errors += named(f"{where}.name", name, names.dns_label)
        errors += port_number(f"{where}.port", port.get("port") or 0)
        errors += required_one_of(f"{where}.protocol", text(port, "protocol"), PROTOCOLS)
    return errors


def validate_endpoint_slice(endpoint_slice: Object) -> Errors:
    kind = text(endpoint_slice, "addressType")
    errors = required_one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    endpoints = listed(endpoint_slice, "endpoints")
    if len(endpoints) > 1000:
        return [*errors, field_errors.too_many("endpoints", len(endpoints), 1000)]
    for index, endpoint in enumerate(endpoints):
        errors += _check_endpoint(f"endpoints[{index}]", endpoint, kind)
    return errors + _check_slice_ports(listed(endpoint_slice, "ports"))


def _check_endpoint(path: str, endpoint: Object, kind: str) -> Errors:
    addresses = listed(endpoint, "addresses")
    errors: Errors = []
    if not addresses:
        errors.append(field_errors.required(f"{path}.addresses", "must contain at least 1 address"))
    if len(addresses) > 100:
        errors.append(field_errors.too_many(f"{path}.addresses", len(addresses), 100))
    for index, address in enumerate(addresses):
        where = f"{path}.addresses[{index}]"
        if kind == "FQDN":
            errors += named(where, address, names.dns_subdomain)
            continue
        found = parsed_ip(address)
        if found is not None and kind == f"IPv{10 - found.version}":
            errors.append(field_errors.invalid(where, address, f"must be an {kind} address"))
        errors += endpoint_address(where, address)
    if (hostname := endpoint.get("hostname")) is not None:
        errors += named(f"{path}.hostname", hostname, names.dns_label)
    return errors


def _check_slice_ports(ports: Sequence[Object]) -> Errors:
    errors: Errors = []
    if len(ports) > 20_000:
        return [field_errors.too_many("ports", len(ports), 20_000)]
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", text(port, "name")
        if name:
            errors += named(f"{path}.name", name, names.dns_label)
        if name in seen:
            errors.append(field_errors.duplicate(f"{path}.name", name))
        seen.add(name)
        errors += required_one_of(f"{path}.protocol", text(port, "protocol"), PROTOCOLS)
        if port.get("port") is not None:
            errors += port_number(f"{path}.port", port["port"])
        if (protocol := port.get("appProtocol")) is not None:
            errors += named(f"{path}.appProtocol", protocol, names.qualified_name)
    return errors


def validate_endpoint_slice_update(new: Object, old: Object) -> Errors:
    return validate_endpoint_slice(new) + immutable("addressType", new.get("addressType"), old.get("addressType"))
