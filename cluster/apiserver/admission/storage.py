"""DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize: claims get a class and a guard."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, metadata_of, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity

STORAGE_CLASSES = resources.named("storageclasses.storage.k8s.io")
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

FINALIZERS = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    operations = frozenset({CREATE})
    resources = frozenset({"persistentvolumeclaims"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        annotations = metadata_of(request).get("annotations") or {}
        # An empty class is a choice too: it asks for a volume without a class.
        if spec.get("storageClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        defaults = [c for c in self.reader.list(STORAGE_CLASSES) if is_default_class(c)]
        if defaults:
            spec["storageClassName"] = newest(defaults)["metadata"]["name"]


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    operations = frozenset({CREATE})
    resources = frozenset(FINALIZERS)

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        finalizer = FINALIZERS[request.resource.qualified]
        metadata = request.obj.setdefault("metadata", {})
        present = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    operations = frozenset({UPDATE})
    resources = frozenset({"persistentvolumeclaims"})

    async def validate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None or request.old is None:
            return
        wanted, had = _storage(request.obj), _storage(request.old)
        if wanted is None or had is None or wanted <= had:
            return
        if (request.old.get("status") or {}).get("phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        class_name = spec_of(request.old).get("storageClassName") or ""
        chosen = self.reader.get(STORAGE_CLASSES, "", class_name) if class_name else None
        if chosen is None or not chosen.get("allowVolumeExpansion"):
            raise refuse(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
                " support resize",
            )


def is_default_class(storage_class: Object) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return any(annotations.get(name) == "true" for name in DEFAULT_ANNOTATIONS)


def newest(classes: list[Object]) -> Object:
    """The youngest; of those made in the same second the first by name."""
    by_name = sorted(classes, key=lambda c: str(c["metadata"]["name"]))
    return max(by_name, key=lambda c: str(c["metadata"].get("creationTimestamp") or ""))


def _storage(claim: Object) -> Quantity | None:
    amount = ((spec_of(claim).get("resources") or {}).get("requests") or {}).get("storage")
    return Quantity.parse(amount) if amount is not None else None
