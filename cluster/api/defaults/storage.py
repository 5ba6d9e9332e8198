"""Defaults of storage.k8s.io."""

from cluster.api.defaults.filling import child, fill_pointer
from cluster.machinery.objects import Object


def default_storage_class(storage_class: Object) -> None:
    fill_pointer(storage_class, "reclaimPolicy", "Delete")
    fill_pointer(storage_class, "volumeBindingMode", "Immediate")


def default_volume_attachment(attachment: Object) -> None:
    child(child(attachment, "spec"), "source")
    fill_pointer(child(attachment, "status"), "attached", False)


def default_csi_driver(driver: Object) -> None:
    spec = child(driver, "spec")
    fill_pointer(spec, "attachRequired", True)
    fill_pointer(spec, "podInfoOnMount", False)
    fill_pointer(spec, "storageCapacity", False)
    fill_pointer(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType")
    fill_pointer(spec, "requiresRepublish", False)
    fill_pointer(spec, "seLinuxMount", False)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def default_csi_node(node: Object) -> None:
    child(node, "spec").setdefault("drivers", None)
