"""
Which fields of a resource can be selected by (`--field-selector`), and their values as text.

Name and namespace always can; the rest is a short list a kind. Source: the label conversion functions of
k8s.io/kubernetes, pkg/apis/*/v1/conversion.go and the registries' ToSelectableFields.
"""

from collections.abc import Callable, Mapping

from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.machinery.objects import Object

_NAME, _NAMESPACE = "metadata.name", "metadata.namespace"


def selectable_fields(resource: Resource, obj: Object) -> dict[str, str]:
    """Every field that can be selected by, with this object's value; absent values are empty."""
    metadata = obj.get("metadata") or {}
    fields = {_NAME: metadata.get("name") or ""}
    if resource.namespaced:
        fields[_NAMESPACE] = metadata.get("namespace") or ""
    if isinstance(resource, CustomResource):
        return fields | resource.field_values(obj)
    special = _SPECIAL.get((resource.group, resource.plural))
    if special is not None:
        for field, read in special.items():
            fields[field] = read(obj)
    return fields


def is_selectable(resource: Resource, field: str) -> bool:
    if field == _NAME or (field == _NAMESPACE and resource.namespaced):
        return True
    if isinstance(resource, CustomResource):
        return resource.is_selectable(field)
    return field in _SPECIAL.get((resource.group, resource.plural), ())


def refusal(resource: Resource, field: str) -> str:
    """What the server answers (400) to a field it cannot select by."""
    if (resource.group, resource.plural) in _SPECIAL:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "{_NAME}", "{_NAMESPACE}"'


def _text(path: str) -> Callable[[Object], str]:
    keys = path.split(".")

    def read(obj: Object) -> str:
        value: object = obj
        for key in keys:
            if not isinstance(value, dict):
                return ""
            value = value.get(key)
        return "" if value is None else str(value)

    return read


def _flag(path: str) -> Callable[[Object], str]:
    text = _text(path)
    return lambda obj: "true" if text(obj) == "True" else "false"


def _number(path: str) -> Callable[[Object], str]:
    text = _text(path)
    return lambda obj: text(obj) or "0"


def _first_of(*paths: str) -> Callable[[Object], str]:
    reads = [_text(path) for path in paths]
    return lambda obj: next((found for read in reads if (found := read(obj))), "")


_EVENT_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_SPECIAL: Mapping[tuple[str, str], Mapping[str, Callable[[Object], str]]] = {
    ("", "pods"): {
        "spec.nodeName": _text("spec.nodeName"),
        "spec.restartPolicy": _text("spec.restartPolicy"),
        "spec.schedulerName": _text("spec.schedulerName"),
        "spec.serviceAccountName": _text("spec.serviceAccountName"),
        "spec.hostNetwork": _flag("spec.hostNetwork"),
        "status.phase": _text("status.phase"),
        "status.podIP": _text("status.podIP"),
        "status.nominatedNodeName": _text("status.nominatedNodeName"),
    },
    ("", "events"): {
        **{f"involvedObject.{key}": _text(f"involvedObject.{key}") for key in _EVENT_REFERENCE},
        "reason": _text("reason"),
        "reportingComponent": _text("reportingComponent"),
        "source": _first_of("source.component", "reportingComponent"),
        "type": _text("type"),
    },
    ("events.k8s.io", "events"): {
        **{f"regarding.{key}": _text(f"regarding.{key}") for key in _EVENT_REFERENCE},
        "reason": _text("reason"),
        "reportingController": _first_of("reportingController", "deprecatedSource.component"),
        "type": _text("type"),
    },
    ("", "namespaces"): {"status.phase": _text("status.phase")},
    ("", "nodes"): {"spec.unschedulable": _flag("spec.unschedulable")},
    ("", "secrets"): {"type": _text("type")},
    ("", "services"): {"spec.clusterIP": _text("spec.clusterIP"), "spec.type": _text("spec.type")},
    ("", "replicationcontrollers"): {"status.replicas": _number("status.replicas")},
    ("apps", "replicasets"): {"status.replicas": _number("status.replicas")},
    ("batch", "jobs"): {"status.successful": _number("status.succeeded")},
    ("certificates.k8s.io", "certificatesigningrequests"): {"spec.signerName": _text("spec.signerName")},
    ("resource.k8s.io", "resourceslices"): {
        "spec.nodeName": _text("spec.nodeName"),
        "spec.driver": _text("spec.driver"),
    },
}
