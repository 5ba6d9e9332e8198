"""Rows of volumes, claims, storage classes and CSI objects; secrets and config maps as well."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cluster.api.printers.ages import since
from cluster.api.printers.formats import NONE, UNSET, metadata_of, name_of, spec_of, status_of
from cluster.machinery.objects import Object

_MODES = (("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"))
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _age(obj: Object, now: datetime) -> str:
    return since(metadata_of(obj).get("creationTimestamp"), now)


def _access_modes(modes: Iterable[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in _MODES if mode in present)


def _class_name(obj: Object) -> str:
    annotation = (metadata_of(obj).get("annotations") or {}).get(_CLASS_ANNOTATION)
    return annotation if annotation is not None else spec_of(obj).get("storageClassName") or ""


def _phase(obj: Object) -> str:
    return "Terminating" if metadata_of(obj).get("deletionTimestamp") else status_of(obj).get("phase") or ""


def _attributes_class(spec: Object) -> str:
    name = spec.get("volumeAttributesClassName")
    return UNSET if name is None else name


def config_map_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def secret_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type") or "", len(obj.get("data") or ()), _age(obj, now)]


def volume_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    claim = spec.get("claimRef") or {}
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        _access_modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        _phase(obj),
        f"{claim.get('namespace') or ''}/{claim.get('name') or ''}" if claim else "",
        _class_name(obj),
        _attributes_class(spec),
        status_of(obj).get("reason") or "",
        _age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def claim_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    bound = bool(spec.get("volumeName"))
    return [
        name_of(obj),
        _phase(obj),
        spec.get("volumeName") or "",
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        _access_modes(status.get("accessModes")) if bound else "",
        _class_name(obj),
        _attributes_class(spec),
        _age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def storage_class_cells(obj: Object, now: datetime) -> list[Any]:
    annotations = metadata_of(obj).get("annotations") or {}
    default = any(annotations.get(key) == "true" for key in _DEFAULT_ANNOTATIONS)
    return [
        f"{name_of(obj)} (default)" if default else name_of(obj),
        obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        _age(obj, now),
    ]


def attributes_class_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("driverName") or "", _age(obj, now)]


def volume_attachment_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    return [
        name_of(obj),
        spec.get("attacher") or "",
        (spec.get("source") or {}).get("persistentVolumeName") or "",
        spec.get("nodeName") or "",
        bool(status_of(obj).get("attached")),
        _age(obj, now),
    ]


def csi_driver_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    attach = spec.get("attachRequired")
    return [
        name_of(obj),
        True if attach is None else bool(attach),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        ",".join(token.get("audience") or "" for token in spec.get("tokenRequests") or ()) or UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        _age(obj, now),
    ]


def csi_node_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), len(spec_of(obj).get("drivers") or ()), _age(obj, now)]
