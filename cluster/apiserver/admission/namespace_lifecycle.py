"""NamespaceLifecycle: nothing is written into a namespace that is missing or going, and the first three never go."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, DELETE, UPDATE, Plugin, refuse
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import not_found

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"
    operations = frozenset({CREATE, UPDATE, DELETE})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.resource.qualified == "namespaces":
            if request.operation == DELETE and not request.subresource and self._stays(request.name):
                raise refuse(request, "this namespace may not be deleted")
            return
        # What is there may always be deleted, and asking about a missing namespace is no write into it.
        if not request.namespace or request.operation == DELETE or request.resource.group == "authorization.k8s.io":
            return
        namespace = await self._namespace(request.namespace)
        if request.operation != CREATE or (namespace.get("status") or {}).get("phase") != "Terminating":
            return
        error = refuse(
            request, f"unable to create new content in namespace {request.namespace} because it is being terminated"
        )
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {request.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.details = {**(error.details or {}), "causes": [cause]}
        raise error

    def _stays(self, name: str) -> bool:
        return name in IMMORTAL or name in self.around.kept_namespaces

    async def _namespace(self, name: str) -> Object:
        found = self.reader.get(resources.NAMESPACES, "", name)
        if found is None:  # made this very moment, perhaps
            found = await self.reader.get_current(resources.NAMESPACES, "", name)
        if found is None:
            raise not_found("", "namespaces", name)
        return found
