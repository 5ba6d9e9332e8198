"""Defaults of volumes: in pods, in templates, and in PersistentVolumes, which share their sources."""

from collections.abc import Callable, Mapping

from cluster.api.defaults.claims import default_claim_spec
from cluster.api.defaults.filling import child, fill, fill_pointer, items
from cluster.api.defaults.images import pull_policy_for
from cluster.machinery.objects import Object

FILE_MODE = 0o644
TOKEN_LIFETIME_SECONDS = 3600


def default_volumes(spec: Object) -> None:
    """The volumes of one pod spec."""
    for volume in items(spec, "volumes"):
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not sources:
            volume["emptyDir"] = {}
        default_volume_source(volume)


def default_volume_source(volume: Object) -> None:
    """Whatever source a volume (or the spec of a PersistentVolume) has."""
    for key, default_source in _SOURCES.items():
        source = volume.get(key)
        if isinstance(source, dict):
            default_source(source)


def default_field_reference(holder: Object) -> None:
    """`fieldRef` and `resourceFieldRef` beside each other, as in env.valueFrom and in downward API items."""
    if isinstance(field := holder.get("fieldRef"), dict):
        fill(field, "apiVersion", "v1")
    if isinstance(resource := holder.get("resourceFieldRef"), dict):
        fill(resource, "divisor", "0")


def _default_files(source: Object) -> None:
    fill_pointer(source, "defaultMode", FILE_MODE)


def _default_downward_api(source: Object) -> None:
    fill_pointer(source, "defaultMode", FILE_MODE)
    for item in items(source, "items"):
        default_field_reference(item)


def _default_projected(source: Object) -> None:
    fill_pointer(source, "defaultMode", FILE_MODE)
    for projection in items(source, "sources"):
        if isinstance(token := projection.get("serviceAccountToken"), dict):
            fill_pointer(token, "expirationSeconds", TOKEN_LIFETIME_SECONDS)
        if isinstance(downward := projection.get("downwardAPI"), dict):
            for item in items(downward, "items"):
                default_field_reference(item)


def _default_host_path(source: Object) -> None:
    fill_pointer(source, "type", "")


def _default_iscsi(source: Object) -> None:
    fill(source, "iscsiInterface", "default")


def _default_rbd(source: Object) -> None:
    fill(source, "pool", "rbd")
    fill(source, "user", "admin")
    fill(source, "keyring", "/etc/ceph/keyring")


def _default_azure_disk(source: Object) -> None:
    fill_pointer(source, "cachingMode", "ReadWrite")
    fill_pointer(source, "kind", "Shared")
    fill_pointer(source, "fsType", "ext4")
    fill_pointer(source, "readOnly", False)


def _default_scale_io(source: Object) -> None:
    fill(source, "storageMode", "ThinProvisioned")
    fill(source, "fsType", "xfs")


def _default_image(source: Object) -> None:
    fill(source, "pullPolicy", pull_policy_for(source.get("reference") or ""))


def _default_ephemeral(source: Object) -> None:
    if isinstance(template := source.get("volumeClaimTemplate"), dict):
        child(template, "metadata")
        default_claim_spec(child(template, "spec"))


_SOURCES: Mapping[str, Callable[[Object], None]] = {
    "secret": _default_files,
    "configMap": _default_files,
    "downwardAPI": _default_downward_api,
    "projected": _default_projected,
    "hostPath": _default_host_path,
    "iscsi": _default_iscsi,
    "rbd": _default_rbd,
    "azureDisk": _default_azure_disk,
    "scaleIO": _default_scale_io,
    "image": _default_image,
    "ephemeral": _default_ephemeral,
}
