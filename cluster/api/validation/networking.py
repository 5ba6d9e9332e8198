"""
Validation of networking.k8s.io.

Source: k8s.io/kubernetes, pkg/apis/networking/validation.
"""

import ipaddress
from typing import Any

from cluster.api.validation.rules import (
    IMMUTABLE,
    Errors,
    cidr,
    each,
    immutable,
    listed,
    mapping,
    named,
    one_of,
    parsed_cidr,
    parsed_ip,
    port_name,
    port_number,
    port_or_name,
    required_name,
    text,
)
from cluster.api.validation.selectors import validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDINGS = ("/..", "/.")
_WILDCARD_FAULT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
    "which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character "
    "(e.g. '*.example.com', regex used for validation is "
    r"'\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def validate_ingress(ingress: Object) -> Errors:
    spec = mapping(ingress, "spec")
    errors: Errors = []
    rules, backend = spec.get("rules") or None, spec.get("defaultBackend")
    if not rules and backend is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(field_errors.invalid("spec", rules, detail))
    if backend is not None:
        errors += _check_backend("spec.defaultBackend", backend)
    errors += each("spec.rules", rules or [], _check_rule)
    errors += each("spec.tls", listed(spec, "tls"), _check_tls)
    if (name := spec.get("ingressClassName")) is not None:
        errors += named("spec.ingressClassName", name, names.dns_subdomain)
    return errors


def validate_ingress_create(ingress: Object) -> Errors:
    """The class by annotation is the old way; by both ways it would be two classes."""
    annotation = mapping(mapping(ingress, "metadata"), "annotations").get(_CLASS_ANNOTATION)
    errors: Errors = []
    if annotation is not None and mapping(ingress, "spec").get("ingressClassName") is not None:
        path, detail = f"annotations.{_CLASS_ANNOTATION}", "can not be set when the class field is also set"
        errors.append(field_errors.invalid(path, annotation, detail))
    return validate_ingress(ingress) + errors


def _check_rule(path: str, rule: Object) -> Errors:
    host = text(rule, "host")
    errors: Errors = []
    if host:
        if parsed_ip(host):
            errors.append(field_errors.invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        errors += _check_host(f"{path}.host", host)
    http = rule.get("http")
    if http is None:
        return errors
    paths = listed(http, "paths")
    if not paths:
        return [*errors, field_errors.required(f"{path}.http.paths")]
    return errors + each(f"{path}.http.paths", paths, _check_path)


def _check_host(path: str, host: str) -> Errors:
    if "*" not in host:
        return named(path, host, names.dns_subdomain)
    rest = host.removeprefix("*.")
    good = host.startswith("*.") and not names.dns_subdomain(rest)
    return [] if good else [field_errors.invalid(path, host, _WILDCARD_FAULT)]


def _check_tls(path: str, tls: Object) -> Errors:
    errors: Errors = []
    for index, host in enumerate(listed(tls, "hosts")):
        errors += _check_host(f"{path}.hosts[{index}]", host)
    if secret := text(tls, "secretName"):
        errors += named(f"{path}.secretName", secret, names.dns_subdomain)
    return errors


def _check_path(path: str, entry: Object) -> Errors:
    kind, location = entry.get("pathType"), text(entry, "path")
    if kind is None:
        return [field_errors.required(f"{path}.pathType", "pathType must be specified")]
    errors: Errors = []
    where = f"{path}.path"
    match kind:
        case "Exact" | "Prefix":
            if not location.startswith("/"):
                errors.append(field_errors.invalid(where, location, "must be an absolute path"))
            if location:
                errors += [
                    field_errors.invalid(where, location, f"must not contain '{bad}'")
                    for bad in _BAD_SEQUENCES
                    if bad in location
                ]
                errors += [
                    field_errors.invalid(where, location, f"cannot end with '{bad}'")
                    for bad in _BAD_ENDINGS
                    if location.endswith(bad)
                ]
        case "ImplementationSpecific":
            if location and not location.startswith("/"):
                errors.append(field_errors.invalid(where, location, "must be an absolute path"))
        case _:
            supported = ("Exact", "ImplementationSpecific", "Prefix")
            errors.append(field_errors.not_supported(f"{path}.pathType", kind, supported))
    return errors + _check_backend(f"{path}.backend", mapping(entry, "backend"))


def _check_backend(path: str, backend: Object) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [field_errors.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [field_errors.required(f"{path}.resource.{key}") for key in ("kind", "name") if not text(resource, key)]
    if service is None:
        return [field_errors.invalid(path, "", "resource or service backend is required")]
    errors = required_name(f"{path}.service.name", text(service, "name"), names.dns_1035_label)
    port = mapping(service, "port")
    name, number = text(port, "name"), port.get("number") or 0
    if name and number:
        return [*errors, field_errors.invalid(path, "", "cannot set both port name & port number")]
    if name:
        return errors + named(f"{path}.service.port.name", name, port_name)
    if number:
        return errors + port_number(f"{path}.service.port.number", number)
    return [*errors, field_errors.required(path, "port name or number is required")]


def validate_ingress_class(ingress_class: Object) -> Errors:
    spec = mapping(ingress_class, "spec")
    controller = text(spec, "controller")
    errors = [field_errors.too_long("spec.controller", 250)] if len(controller) > 250 else []
    errors += _check_domain_path("spec.controller", controller)
    if (parameters := spec.get("parameters")) is not None:
        path = "spec.parameters"
        errors += [field_errors.required(f"{path}.{key}", f"{key} is required") for key in ("kind", "name")
                   if not text(parameters, key)]  # fmt: skip
        scope = parameters.get("scope")
        if scope == "Namespace" and not text(parameters, "namespace"):
            detail = "`parameters.scope` is set to 'Namespace'"
            errors.append(field_errors.required(f"{path}.namespace", detail))
        if scope == "Cluster" and parameters.get("namespace") is not None:
            detail = "`parameters.scope` is set to 'Cluster'"
            errors.append(field_errors.forbidden(f"{path}.namespace", detail))
        if scope is not None:
            errors += one_of(f"{path}.scope", scope, ("Cluster", "Namespace"))
    return errors


def _check_domain_path(path: str, value: str) -> Errors:
    if not value:
        return [field_errors.required(path)]
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [field_errors.invalid(path, value, detail)]
    return [field_errors.invalid(path, value, fault) for fault in names.dns_subdomain(domain)]


def validate_ingress_class_update(new: Object, old: Object) -> Errors:
    after, before = mapping(new, "spec").get("controller"), mapping(old, "spec").get("controller")
    return immutable("spec.controller", after, before) + validate_ingress_class(new)


def validate_network_policy(policy: Object) -> Errors:
    spec = mapping(policy, "spec")
    errors = validate_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(listed(spec, direction)):
            path = f"spec.{direction}[{index}]"
            errors += each(f"{path}.ports", listed(rule, "ports"), _check_policy_port)
            errors += each(f"{path}.{peers}", listed(rule, peers), _check_peer)
    types = listed(spec, "policyTypes")
    if len(types) > 2:
        detail = "may not specify more than two policyTypes"
        return [*errors, field_errors.invalid("spec.policyTypes", types, detail)]
    for index, kind in enumerate(types):
        errors += one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return errors


def _check_policy_port(path: str, port: Object) -> Errors:
    errors: Errors = []
    if protocol := port.get("protocol"):
        errors += one_of(f"{path}.protocol", protocol, ("SCTP", "TCP", "UDP"))
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        errors += port_or_name(f"{path}.port", number)
        if isinstance(number, int) and end is not None and end < number:
            errors.append(field_errors.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
        if isinstance(number, str) and end is not None:
            detail = "may not be specified when `port` is non-numeric"
            errors.append(field_errors.forbidden(f"{path}.endPort", detail))
    elif end is not None:
        errors.append(field_errors.required(f"{path}.endPort", "may not be specified when `port` is not specified"))
    return errors + (port_number(f"{path}.endPort", end) if end is not None else [])


def _check_peer(path: str, peer: Object) -> Errors:
    given = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    errors: Errors = []
    for key in ("podSelector", "namespaceSelector"):
        errors += validate_selector(f"{path}.{key}", peer.get(key))
    if "ipBlock" in given:
        errors += _check_block(f"{path}.ipBlock", peer["ipBlock"])
    if not given:
        errors.append(field_errors.required(path, "must specify a peer"))
    elif "ipBlock" in given and len(given) > 1:
        errors.append(field_errors.forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _check_block(path: str, block: Object) -> Errors:
    network = text(block, "cidr")
    if not network:
        return [field_errors.required(f"{path}.cidr")]
    errors = cidr(f"{path}.cidr", network)
    outer = parsed_cidr(network)
    for index, excluded in enumerate(listed(block, "except")):
        where = f"{path}.except[{index}]"
        errors += cidr(where, excluded)
        inner = parsed_cidr(excluded)
        if outer and inner and not _strictly_inside(inner.network, outer.network):
            errors.append(field_errors.invalid(where, excluded, "must be a strict subset of `cidr`"))
    return errors


def _strictly_inside(inner: Any, outer: Any) -> bool:
    if type(inner) is not type(outer):
        return False
    return bool(inner != outer and inner.subnet_of(outer))


def validate_service_cidr(service_cidr: Object) -> Errors:
    networks = listed(mapping(service_cidr, "spec"), "cidrs")
    if not networks:
        return [field_errors.required("spec.cidrs", "at least one CIDR required")]
    if len(networks) > 2:
        return [field_errors.invalid("spec", networks, "may only hold up to 2 values")]
    return each("spec.cidrs", networks, cidr)


def validate_service_cidr_update(new: Object, old: Object) -> Errors:
    """The ranges stay; one of a second family may be added."""
    after, before = (listed(mapping(obj, "spec"), "cidrs") for obj in (new, old))
    if len(after) == len(before) or (len(before), len(after)) == (1, 2):
        errors = [
            field_errors.invalid(f"spec.cidrs[{index}]", after[0], IMMUTABLE)
            for index, network in enumerate(before)
            if after[index] != network
        ]
        return errors if len(after) == len(before) else errors + validate_service_cidr(new)
    return [field_errors.invalid("spec.cidrs", after, IMMUTABLE)]


def validate_ip_address_update(new: Object, old: Object) -> Errors:
    after, before = (mapping(obj, "spec").get("parentRef") for obj in (new, old))
    return validate_ip_address(new) + immutable("spec.parentRef", after, before)


def validate_ip_address(address: Object) -> Errors:
    errors: Errors = []
    name = text(mapping(address, "metadata"), "name")
    parsed = parsed_ip(name)
    if parsed is None or str(ipaddress.ip_address(name)) != name:
        detail = "must be a valid IP address in canonical form"
        errors.append(field_errors.invalid("metadata.name", name, detail))
    parent = mapping(address, "spec").get("parentRef")
    if parent is None:
        return [*errors, field_errors.required("spec.parentRef")]
    return errors + [
        field_errors.required(f"spec.parentRef.{key}") for key in ("resource", "name") if not text(parent, key)
    ]
