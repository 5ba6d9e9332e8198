"""
The environment of a container: env, envFrom, $(VAR) expansion, downward API, service variables. Pure.

What it needs from the API is handed in; a missing thing raises `MissingReference`, and the container waits
with reason CreateContainerConfigError, as upstream's does.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from cluster.kubelet.pods import find_container
from cluster.kubelet.resources import limits_of, parse_amount, requests_of
from cluster.machinery.objects import Object

_REFERENCE = re.compile(r"\$(\$|\([^)]*\)?)?")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class MissingReference(Exception):
    """A ConfigMap, Secret, key or field that the pod names does not exist. Remedy: make it; the pod is tried again."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the downward API tells beyond the Pod object."""

    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    node_name: str
    node_allocatable: Mapping[str, int]
    """Millicores and bytes: an absent limit means all of the node."""


Lookup = Callable[[str], Object | None]
"""Name -> ConfigMap or Secret of the pod's namespace."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME); $$ is a dollar; what is unknown stays as it is written."""

    def replace(match: re.Match[str]) -> str:
        body = match.group(1)
        if body is None:
            return "$"
        if body == "$":
            return "$"
        if not body.endswith(")"):
            return match.group(0)
        return variables.get(body[1:-1], match.group(0))

    return _REFERENCE.sub(replace, text)


def field_value(pod: Object, path: str, facts: PodFacts) -> str:
    """The downward API's fieldRef. Raises MissingReference for a path it does not know."""
    metadata, spec = pod["metadata"], pod["spec"]
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if match:
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    match path:
        case "metadata.labels" | "metadata.annotations":
            return format_map(metadata.get(path[9:]) or {})
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata.get(path[9:], ""))
        case "spec.nodeName":
            return facts.node_name
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", ""))
        case "status.hostIP":
            return facts.host_ips[0] if facts.host_ips else ""
        case "status.hostIPs":
            return ",".join(facts.host_ips)
        case "status.podIP":
            return facts.pod_ips[0] if facts.pod_ips else ""
        case "status.podIPs":
            return ",".join(facts.pod_ips)
        case _:
            pass
    raise MissingReference(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """`key="value"` a line, sorted, quotes and newlines escaped."""
    lines = []
    for key in sorted(values):
        escaped = values[key].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        lines.append(f'{key}="{escaped}"')
    return "\n".join(lines)


def resource_value(pod: Object, reference: Mapping[str, str], container: Object, facts: PodFacts) -> str:
    """The downward API's resourceFieldRef, divided and rounded up as asked."""
    named = reference.get("containerName")
    if named:
        found = find_container(pod, named)
        if found is None:
            raise MissingReference(f"container {named} not found")
        container = found.spec
    kind, _, resource = reference["resource"].partition(".")
    value = (limits_of if kind == "limits" else requests_of)(container).get(resource, 0)
    if not value and kind == "limits":
        value = facts.node_allocatable.get(resource, 0)
    exact = Decimal(value) / 1000 if resource == "cpu" else Decimal(value)
    divisor = parse_amount(reference.get("divisor") or "1") or Decimal(1)
    quotient = exact / divisor
    return str(quotient.to_integral_value(ROUND_CEILING).quantize(Decimal(1)))


def decode_secret(secret: Object, key: str) -> bytes | None:
    value = (secret.get("data") or {}).get(key)
    return None if value is None else base64.b64decode(value)


def _from_source(source: Mapping[str, Object], config_maps: Lookup, secrets: Lookup, prefix: str) -> dict[str, str]:
    for field, lookup, what in (("configMapRef", config_maps, "configmap"), ("secretRef", secrets, "secret")):
        reference = source.get(field)
        if not reference:
            continue
        found = lookup(reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise MissingReference(f'{what} "{reference["name"]}" not found')
        data = found.get("data") or {}
        if field == "secretRef":
            data = {k: base64.b64decode(v).decode(errors="surrogateescape") for k, v in data.items()}
        return {prefix + k: v for k, v in data.items() if _ENV_NAME.fullmatch(prefix + k)}
    return {}


def _value_from(
    source: Object, pod: Object, container: Object, facts: PodFacts, config_maps: Lookup, secrets: Lookup
) -> str | None:
    """One env entry's valueFrom; None leaves the variable out (an optional key that does not exist)."""
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], facts)
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, reference, container, facts)
    namespace = pod["metadata"]["namespace"]
    if reference := source.get("configMapKeyRef"):
        found = config_maps(reference["name"])
        if found is None and not reference.get("optional"):
            raise MissingReference(f'configmap "{reference["name"]}" not found')
        value = ((found or {}).get("data") or {}).get(reference["key"])
        if value is None and not reference.get("optional"):
            raise MissingReference(f"couldn't find key {reference['key']} in ConfigMap {namespace}/{reference['name']}")
        return None if value is None else str(value)
    if reference := source.get("secretKeyRef"):
        found = secrets(reference["name"])
        if found is None and not reference.get("optional"):
            raise MissingReference(f'secret "{reference["name"]}" not found')
        raw = decode_secret(found, reference["key"]) if found else None
        if raw is None and not reference.get("optional"):
            raise MissingReference(f"couldn't find key {reference['key']} in Secret {namespace}/{reference['name']}")
        return None if raw is None else raw.decode(errors="surrogateescape")
    raise MissingReference("env entry has a valueFrom that names no source")


def container_environment(
    pod: Object,
    container: Object,
    facts: PodFacts,
    *,
    services: Mapping[str, str],
    config_maps: Lookup,
    secrets: Lookup,
) -> dict[str, str]:
    """
    All variables of a container, in the order upstream gives them precedence: services, envFrom, env.

    Raises:
        MissingReference: something the pod names does not exist.
    """
    from_sources: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        from_sources.update(_from_source(source, config_maps, secrets, source.get("prefix") or ""))
    named: dict[str, str] = {}
    scope = {**services, **from_sources}
    for entry in container.get("env") or ():
        if entry.get("valueFrom"):
            value = _value_from(entry["valueFrom"], pod, container, facts, config_maps, secrets)
            if value is None:
                continue
        else:
            value = expand(str(entry.get("value") or ""), scope)
        named[entry["name"]] = scope[entry["name"]] = value
    # Upstream: a service variable never overrides what the pod itself sets.
    return {**services, **from_sources, **named}


def _variable_name(text: str) -> str:
    return text.upper().replace("-", "_")


def service_variables(services: Iterable[Object], namespace: str, *, links: bool) -> dict[str, str]:
    """
    REDIS_SERVICE_HOST and friends.

    The API's own Service (default/kubernetes) is always told; those of the pod's namespace only when the pod
    has enableServiceLinks. Headless Services have none.
    """
    chosen: dict[str, Object] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        if spec.get("clusterIP") in (None, "", "None") or spec.get("type") == "ExternalName":
            continue
        is_master = metadata["namespace"] == "default" and metadata["name"] == "kubernetes"
        in_namespace = metadata["namespace"] == namespace and links
        if in_namespace or (is_master and metadata["name"] not in chosen):
            chosen[metadata["name"]] = service
    variables: dict[str, str] = {}
    for name in sorted(chosen):
        variables.update(_one_service(name, chosen[name]["spec"]))
    return variables


def _one_service(name: str, spec: Object) -> dict[str, str]:
    address, ports = str(spec["clusterIP"]), spec.get("ports") or ()
    if not ports:
        return {}
    prefix = _variable_name(name)
    variables = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{_variable_name(port['name'])}"] = str(port["port"])
    shown = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        protocol = (port.get("protocol") or "TCP").upper()
        url = f"{protocol.lower()}://{shown}:{port['port']}"
        if index == 0:
            variables[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables |= {
            stem: url,
            f"{stem}_PROTO": protocol.lower(),
            f"{stem}_PORT": str(port["port"]),
            f"{stem}_ADDR": address,
        }
    return variables
