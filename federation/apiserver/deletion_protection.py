"""
What carries the label `federation.hanse.io/deletion-protected=true` cannot be deleted while it does.

A template's deletion reaches every member at once. Neither can its namespace be deleted, nor the definition of its
kind: both would take it along.
"""

from collections.abc import Iterator

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.admission.plugin import DELETE, Plugin, refuse
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object

_DEFINITIONS = resources.named("customresourcedefinitions.apiextensions.k8s.io")
PROTECTED = "federation.hanse.io/deletion-protected"


class DeletionProtection(Plugin):
    name = "DeletionProtection"
    operations = frozenset({DELETE})

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.old is None:
            return
        if is_protected(request.old):
            raise refuse(request, f"it is protected from deletion by its label {PROTECTED}; remove that first")
        protected = next(self._taken_along(request), None)
        if protected is not None:
            raise refuse(
                request,
                f"{protected['kind']} {_title(protected)} would go with it, which the label {PROTECTED} protects",
            )

    def _taken_along(self, request: AdmissionRequest) -> Iterator[Object]:
        match request.resource.qualified:
            case "namespaces":
                for kind in (*resources.ALL, *self._custom_kinds()):
                    if kind.namespaced:
                        yield from self._protected(kind, request.name)
            case "customresourcedefinitions.apiextensions.k8s.io":
                yield from self._protected(_defined_by(request.old or {}), "")
            case _:
                pass

    def _custom_kinds(self) -> Iterator[Resource]:
        yield from map(_defined_by, self.reader.list(_DEFINITIONS))

    def _protected(self, kind: Resource, namespace: str) -> Iterator[Object]:
        try:
            listed = self.reader.list(kind, namespace)
        except KeyError:
            return  # it is not served
        for one in listed:
            if is_protected(one):
                yield {**one, "kind": kind.kind}


def is_protected(obj: Object) -> bool:
    return (obj["metadata"].get("labels") or {}).get(PROTECTED) == "true"


def _defined_by(definition: Object) -> Resource:
    spec = definition["spec"]
    version = next(one["name"] for one in spec["versions"] if one.get("storage"))
    return Resource(
        spec["group"], version, spec["names"]["plural"], spec["names"]["kind"], spec.get("scope") == "Namespaced"
    )


def _title(obj: Object) -> str:
    namespace = obj["metadata"].get("namespace")
    return f"{namespace + '/' if namespace else ''}{obj['metadata']['name']}"
