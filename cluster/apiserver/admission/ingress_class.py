"""DefaultIngressClass: an Ingress that names no class gets the default one."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, Plugin, metadata_of
from cluster.apiserver.admission.storage import newest
from cluster.apiserver.requests import AdmissionRequest

INGRESS_CLASSES = resources.named("ingressclasses.networking.k8s.io")
DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    operations = frozenset({CREATE})
    resources = frozenset({"ingresses.networking.k8s.io"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        if spec.get("ingressClassName") is not None:
            return
        if CLASS_ANNOTATION in (metadata_of(request).get("annotations") or {}):
            return
        defaults = [
            c
            for c in self.reader.list(INGRESS_CLASSES)
            if (c["metadata"].get("annotations") or {}).get(DEFAULT_ANNOTATION) == "true"
        ]
        if defaults:
            spec["ingressClassName"] = newest(defaults)["metadata"]["name"]
