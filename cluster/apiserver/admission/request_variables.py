"""
What expressions see of a write: `request`, with the fields of an AdmissionRequest save the objects.

Source: k8s.io/apiserver, pkg/admission/plugin/cel/condition.go (CreateAdmissionRequest).
"""

from cluster.api.resources import Resource
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.objects import Object


def request_value(request: AdmissionRequest, seen_as: Resource | None = None) -> Object:
    """`seen_as` is the resource whose rule matched, when that is another version than the one asked for."""
    shown = seen_as or request.resource
    value: Object = {
        "kind": _kind(shown),
        "resource": _resource(shown),
        "subResource": request.subresource,
        "requestKind": _kind(request.resource),
        "requestResource": _resource(request.resource),
        "requestSubResource": request.subresource,
        "name": request.name,
        "namespace": request.namespace,
        "operation": request.operation,
        "userInfo": user_value(request.user),
        "dryRun": request.dry_run,
        "options": request.options,
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


def _kind(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
