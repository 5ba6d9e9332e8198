"""
The objects that a binding hands to its policy as `params`.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/generic/policy_dispatcher.go (CollectParams).
"""

from collections.abc import Sequence

from cluster.api.resources import Resource
from cluster.apiserver.admission.policies.plugins import Kinds
from cluster.apiserver.requests import ObjectReader
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Object


class ConfigurationError(Exception):
    """A policy or binding cannot be used as it is; the text is upstream's."""


def resource_of(param_kind: Object, kinds: Kinds) -> Resource:
    """Raises ConfigurationError when nobody serves it."""
    api_version, kind = param_kind.get("apiVersion") or "", param_kind.get("kind") or ""
    found = kinds.by_kind(api_version, kind)
    if found is None:
        raise ConfigurationError(f"failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
    return found


async def collect(
    resource: Resource | None, binding: Object, namespace: str, reader: ObjectReader
) -> Sequence[Object | None]:
    """
    One evaluation for each; a single None for a policy or a binding without params.

    Args:
        resource: That of the policy's paramKind.
        binding: With its `paramRef`.
        namespace: Of the request.
        reader: Finds the objects.

    Raises:
        ConfigurationError: There are none and that is to be an error, or the reference does not fit.
    """
    reference = binding["spec"].get("paramRef")
    if resource is None or reference is None:
        return [None]
    where = ""
    given = reference.get("namespace") or ""
    if resource.namespaced:
        where = given or namespace
        if not where:
            raise ConfigurationError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            )
    elif given:
        raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found = await _find(resource, reference, where, reader)
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


async def _find(resource: Resource, reference: Object, namespace: str, reader: ObjectReader) -> Sequence[Object]:
    if name := reference.get("name"):
        found = reader.get(resource, namespace, name)
        if found is None:  # made this very moment, perhaps
            found = await reader.get_current(resource, namespace, name)
        return [] if found is None else [_typed(found, resource)]
    try:
        selector = selector_of(reference.get("selector"))
    except ValueError as fault:
        raise ConfigurationError(str(fault)) from None
    listed = reader.list(resource, namespace)
    chosen = [_typed(one, resource) for one in listed if selector.matches(one["metadata"].get("labels"))]
    return sorted(chosen, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))


def _typed(obj: Object, resource: Resource) -> Object:
    return obj if "kind" in obj else {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
