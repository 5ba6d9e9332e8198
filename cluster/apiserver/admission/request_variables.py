"""
What expressions see of a write: `request`, with the fields of an AdmissionRequest save the objects.

Source: k8s.io/apiserver, pkg/admission/plugin/cel/condition.go (CreateAdmissionRequest).
"""

from cluster.api.resources import Resource
from cluster.apiserver.admission.matching import namespace_of
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.objects import Object


def request_value(request: AdmissionRequest, seen_as: Resource | None = None) -> Object:
    """`seen_as` is the resource whose rule matched, when that is another version than the one asked for."""
    shown = seen_as or request.resource
    asked_kind = _asked_kind(request)
    value: Object = {
        "kind": asked_kind if asked_kind != _kind(request.resource) else _kind(shown),
        "resource": _resource(shown),
        "subResource": request.subresource,
        "requestKind": asked_kind,
        "requestResource": _resource(request.resource),
        "requestSubResource": request.subresource,
        "name": request.name,
        "namespace": namespace_of(request),
        "operation": request.operation,
        "userInfo": user_value(request.user),
        "dryRun": request.dry_run,
        "options": _options(request),
    }
    return {key: found for key, found in value.items() if found not in ("", {})}


def user_value(user: UserInfo) -> Object:
    """An authentication.k8s.io UserInfo; what is empty is absent, as in JSON."""
    value: Object = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(found) for key, found in user.extra.items()},
    }
    return {key: found for key, found in value.items() if found}


def _asked_kind(request: AdmissionRequest) -> Object:
    """That of the resource, save for subresources that have objects of their own: a Scale, a Binding."""
    obj = (request.obj or request.old) if request.subresource else None
    if not obj or "kind" not in obj or "apiVersion" not in obj:
        return _kind(request.resource)
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return {"group": group, "version": version, "kind": obj["kind"]}


def _options(request: AdmissionRequest) -> Object:
    """Those of the operation that is done: a patch is an update, or with apply perhaps a create."""
    kind = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}.get(request.operation)
    if kind is None:
        return {}
    kept = {key: value for key, value in request.options.items() if key != "force"}
    return {**kept, "kind": kind, "apiVersion": "meta.k8s.io/v1"}


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
