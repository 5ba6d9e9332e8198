"""RuntimeClass: a pod gets the overhead, node selector and tolerations of its runtime."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, Plugin, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object, copy_object

RUNTIME_CLASSES = resources.named("runtimeclasses.node.k8s.io")


class RuntimeClass(Plugin):
    name = "RuntimeClass"
    operations = frozenset({CREATE})
    resources = frozenset({"pods"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        runtime_class = await self._runtime_class(request, spec)
        if runtime_class is None:
            return
        overhead = (runtime_class.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and spec["overhead"] != overhead:
                raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        if scheduling := runtime_class.get("scheduling"):
            self._set_scheduling(request, spec, scheduling)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = spec_of(request.obj)
        runtime_class = await self._runtime_class(request, spec)
        overhead = ((runtime_class or {}).get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and not overhead:
            raise refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    async def _runtime_class(self, request: AdmissionRequest, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self.reader.get(RUNTIME_CLASSES, "", name)
        if found is None:
            found = await self.reader.get_current(RUNTIME_CLASSES, "", name)
        if found is None:
            raise refuse(request, f'pod rejected: RuntimeClass "{name}" not found')
        return found

    def _set_scheduling(self, request: AdmissionRequest, spec: Object, scheduling: Object) -> None:
        selector = spec.get("nodeSelector") or {}
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                raise refuse(
                    request,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value};"
                    f" pod.spec.nodeSelector[{key}] = {selector[key]}",
                )
            selector = {**selector, key: value}
        if selector:
            spec["nodeSelector"] = selector
        tolerations = spec.get("tolerations") or []
        added = [copy_object(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
        if added:
            spec["tolerations"] = [*tolerations, *added]
