"""Defaults of containers: image policy, ports, probes, hooks, environment."""

from collections.abc import Iterator

from cluster.api.defaults.filling import child, fill, fill_pointer, items, mappings
from cluster.api.defaults.images import pull_policy_for
from cluster.api.defaults.volumes import default_field_reference
from cluster.machinery.objects import Object

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def all_containers(spec: Object) -> Iterator[Object]:
    for key in CONTAINER_LISTS:
        yield from items(spec, key)


def default_container(container: Object) -> None:
    fill(container, "imagePullPolicy", pull_policy_for(container.get("image") or ""))
    fill(container, "terminationMessagePath", "/dev/termination-log")
    fill(container, "terminationMessagePolicy", "File")
    child(container, "resources")
    for port in items(container, "ports"):
        fill(port, "protocol", "TCP")
    for variable in items(container, "env"):
        _default_environment(variable)
    for probe in mappings(container, "livenessProbe", "readinessProbe", "startupProbe"):
        _default_probe(probe)
    for lifecycle in mappings(container, "lifecycle"):
        for handler in mappings(lifecycle, "postStart", "preStop"):
            _default_handler(handler)


def _default_environment(variable: Object) -> None:
    for source in mappings(variable, "valueFrom"):
        default_field_reference(source)
        for file_key in mappings(source, "fileKeyRef"):
            fill_pointer(file_key, "optional", False)


def _default_probe(probe: Object) -> None:
    _default_handler(probe)
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(key):
            probe[key] = value
    for grpc in mappings(probe, "grpc"):
        fill_pointer(grpc, "service", "")


def _default_handler(handler: Object) -> None:
    for get in mappings(handler, "httpGet"):
        fill(get, "path", "/")
        fill(get, "scheme", "HTTP")
