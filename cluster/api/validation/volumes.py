"""
Validation of volumes: exactly one source each, and what that source must say.

The same sources carry PersistentVolumes. Source: k8s.io/kubernetes, pkg/apis/core/validation.
"""

from collections.abc import Callable, Mapping, Sequence

from cluster.api.validation.containers import (
    check_field_reference,
    check_resource_reference,
    required_pull_policy,
)
from cluster.api.validation.rules import (
    Errors,
    each,
    listed,
    named,
    not_negative_quantity,
    one_of,
    required_name,
    text,
    within,
)
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

MORE_THAN_ONE = "may not specify more than 1 volume type"
_DOWNWARD_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_MODE_FAULT = "must be a number between 0 and 0777 (octal), both inclusive"


def validate_volumes(volumes: Sequence[Object], path: str) -> tuple[dict[str, Object], Errors]:
    """The volumes by name, for mounts to refer to, and the faults."""
    errors: Errors = []
    by_name: dict[str, Object] = {}
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", text(volume, "name")
        faults = check_source(where, volume)
        if not name:
            faults.append(field_errors.required(f"{where}.name"))
        else:
            faults += named(f"{where}.name", name, names.dns_label)
        if name in by_name:
            faults.append(field_errors.duplicate(f"{where}.name", name))
        if not faults:
            by_name[name] = volume
        errors += faults
    return by_name, errors


def check_source(path: str, volume: Object) -> Errors:
    errors: Errors = []
    given = [key for key in volume if key in VOLUME_SOURCES and volume[key] is not None]
    for index, key in enumerate(sorted(given, key=list(VOLUME_SOURCES).index)):
        where = f"{path}.{key}"
        if index:
            errors.append(field_errors.forbidden(where, MORE_THAN_ONE))
        elif check := VOLUME_SOURCES[key]:
            errors += check(where, volume[key])
    return errors if given else [field_errors.required(path, "must specify a volume type")]


def _empty_dir(path: str, source: Object) -> Errors:
    limit = source.get("sizeLimit")
    if limit is None:
        return []
    faults = not_negative_quantity(path, limit)
    return [field_errors.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")] * bool(
        faults
    )


def host_path(path: str, source: Object) -> Errors:
    location = text(source, "path")
    if not location:
        return [field_errors.required(f"{path}.path")]
    errors = _backsteps(f"{path}.path", location)
    kind = source.get("type")
    return errors + (one_of(f"{path}.type", kind, _HOST_PATH_TYPES) if kind is not None else [])


def _backsteps(path: str, location: str) -> Errors:
    return [field_errors.invalid(path, location, "must not contain '..'")] if ".." in location.split("/") else []


def nfs(path: str, source: Object) -> Errors:
    errors = [field_errors.required(f"{path}.{key}") for key in ("server", "path") if not text(source, key)]
    location = text(source, "path")
    if location and not location.startswith("/"):
        errors.append(field_errors.invalid(f"{path}.path", location, "must be an absolute path"))
    return errors


def _secret(path: str, source: Object) -> Errors:
    errors = [] if text(source, "secretName") else [field_errors.required(f"{path}.secretName")]
    return errors + _files(path, source)


def _config_map(path: str, source: Object) -> Errors:
    errors = [] if text(source, "name") else [field_errors.required(f"{path}.name")]
    return errors + _files(path, source)


def _files(path: str, source: Object) -> Errors:
    return _mode(f"{path}.defaultMode", source.get("defaultMode")) + each(
        f"{path}.items", listed(source, "items"), _key_to_path
    )


def _mode(path: str, mode: int | None) -> Errors:
    return [] if mode is None or 0 <= mode <= 0o777 else [field_errors.invalid(path, mode, _MODE_FAULT)]


def _key_to_path(path: str, item: Object) -> Errors:
    errors = [] if text(item, "key") else [field_errors.required(f"{path}.key")]
    errors += _local_path(f"{path}.path", text(item, "path"))
    return errors + _mode(f"{path}.mode", item.get("mode"))


def _local_path(path: str, location: str) -> Errors:
    if not location:
        return [field_errors.required(path)]
    errors: Errors = []
    if location.startswith("/"):
        errors.append(field_errors.invalid(path, location, "must be a relative path"))
    errors += _backsteps(path, location)
    if location.startswith("..") and not errors:
        errors.append(field_errors.invalid(path, location, "must not start with '..'"))
    return errors


def _downward_api(path: str, source: Object) -> Errors:
    errors = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for item in listed(source, "items"):
        errors += _downward_item(path, item)
    return errors


def _downward_item(path: str, item: Object) -> Errors:
    errors = _local_path(f"{path}.path", text(item, "path"))
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        errors += check_field_reference(f"{path}.fieldRef", field, _DOWNWARD_FIELDS)
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(field_errors.invalid(path, "resource", detail))
    elif resource is not None:
        errors += check_resource_reference(f"{path}.resourceFieldRef", resource, in_volume=True)
    else:
        errors.append(field_errors.required(path, "one of fieldRef and resourceFieldRef is required"))
    return errors + _mode(f"{path}.mode", item.get("mode"))


def _projected(path: str, source: Object) -> Errors:
    errors = _mode(f"{path}.defaultMode", source.get("defaultMode"))
    return errors + each(f"{path}.sources", listed(source, "sources"), _projection)


_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")


def _projection(path: str, projection: Object) -> Errors:
    errors: Errors = []
    given = [key for key in _PROJECTIONS if projection.get(key) is not None]
    for index, key in enumerate(given):
        where, source = f"{path}.{key}", projection[key]
        if index:
            errors.append(field_errors.forbidden(path, "may not specify more than 1 volume type"))
        elif key in ("secret", "configMap"):
            if not text(source, "name"):
                errors.append(field_errors.required(f"{where}.name"))
            errors += each(f"{where}.items", listed(source, "items"), _key_to_path)
        elif key == "downwardAPI":
            for item in listed(source, "items"):
                errors += _downward_item(where, item)
        elif key == "serviceAccountToken":
            errors += _token(where, source)
    return errors if given else [field_errors.required(path, "must specify a volume type")]


def _token(path: str, source: Object) -> Errors:
    errors: Errors = []
    seconds = source.get("expirationSeconds") or 0
    if seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(field_errors.invalid(f"{path}.expirationSeconds", seconds, detail))
    elif seconds > 2**32:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(field_errors.invalid(f"{path}.expirationSeconds", seconds, detail))
    if not text(source, "path"):
        errors.append(field_errors.required(f"{path}.path"))
    else:
        errors += _local_path(f"{path}.path", text(source, "path"))
    return errors


def _claim(path: str, source: Object) -> Errors:
    return [] if text(source, "claimName") else [field_errors.required(f"{path}.claimName")]


def _ephemeral(path: str, source: Object) -> Errors:
    return [] if source.get("volumeClaimTemplate") else [field_errors.required(f"{path}.volumeClaimTemplate")]


def _iscsi(path: str, source: Object) -> Errors:
    errors = [field_errors.required(f"{path}.{key}") for key in ("targetPortal", "iqn") if not text(source, key)]
    return errors + within(f"{path}.lun", source.get("lun"), 0, 255)


def _image(path: str, source: Object) -> Errors:
    return required_pull_policy(f"{path}.pullPolicy", text(source, "pullPolicy"))


def _csi(path: str, source: Object) -> Errors:
    return required_name(f"{path}.driver", text(source, "driver"), csi_driver_name)


def csi_driver_name(name: str) -> list[str]:
    faults = ["must be no more than 63 bytes"] if len(name) > 63 else []
    return faults + names.dns_subdomain(name.lower())


def _rbd(path: str, source: Object) -> Errors:
    errors = [] if listed(source, "monitors") else [field_errors.required(f"{path}.monitors")]
    return errors + ([] if text(source, "image") else [field_errors.required(f"{path}.image")])


def _demands(*keys: str) -> Callable[[str, Object], Errors]:
    """A source of which only some fields must be there."""

    def check(path: str, source: Object) -> Errors:
        return [field_errors.required(f"{path}.{key}") for key in keys if not source.get(key)]

    return check


VOLUME_SOURCES: Mapping[str, Callable[[str, Object], Errors] | None] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": _demands("repository"),
    "gcePersistentDisk": _demands("pdName"),
    "awsElasticBlockStore": _demands("volumeID"),
    "secret": _secret,
    "nfs": nfs,
    "iscsi": _iscsi,
    "glusterfs": _demands("endpoints", "path"),
    "flocker": None,
    "persistentVolumeClaim": _claim,
    "rbd": _rbd,
    "cinder": _demands("volumeID"),
    "cephfs": _demands("monitors"),
    "quobyte": _demands("registry", "volume"),
    "downwardAPI": _downward_api,
    "fc": None,
    "flexVolume": _demands("driver"),
    "configMap": _config_map,
    "azureFile": _demands("secretName", "shareName"),
    "vsphereVolume": _demands("volumePath"),
    "photonPersistentDisk": _demands("pdID"),
    "portworxVolume": _demands("volumeID"),
    "azureDisk": _demands("diskName", "diskURI"),
    "storageos": None,
    "scaleIO": _demands("gateway", "system", "volumeName"),
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
"""In upstream's order: of two sources the later one is the forbidden one."""
