"""
How one kubelet is set up: flags over the KubeletConfiguration file over defaults.

Pure but for `load_configuration`, which reads the file. Flag names and file fields are upstream's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from cluster import settings as house

MAX_CONFIGURATION_BYTES = 1024 * 1024


class SettingsError(Exception):
    """The flags or the configuration file are wrong. Remedy: correct the value that the message names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KubeletSettings:
    """All of a kubelet's settings; seconds for times, bytes for sizes."""

    node_name: str
    kubeconfig: str = ""
    """Empty runs static pods only, without an apiserver."""
    node_ips: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    register_node: bool = True
    provider_id: str = ""
    runtime_endpoint: str = f"unix://{house.CONTAINERD_SOCKET}"
    root_dir: str = str(house.KUBELET_DIR)
    log_dir: str = str(house.POD_LOG_DIR)
    infra_image: str = house.PAUSE_IMAGE
    """Never pruned; the runtime's own configuration decides which image a sandbox uses."""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = house.CLUSTER_DOMAIN
    resolv_conf: str = "/etc/resolv.conf"
    tls_cert_file: str = ""
    tls_key_file: str = ""
    client_ca_file: str = ""
    address: str = "0.0.0.0"  # noqa: S104  # the apiserver dials the node's address; clients are authenticated
    port: int = house.KUBELET_PORT
    healthz_address: str = "127.0.0.1"
    healthz_port: int = house.KUBELET_HEALTHZ_PORT
    """0 turns it off."""
    anonymous_auth: bool = False
    authorization_mode: str = "Webhook"
    max_pods: int = 110
    pod_manifest_path: str = ""
    """Directory of static pods; empty for none."""
    pod_cidr: str = ""
    cgroup_root: str = ""
    cgroups_per_qos: bool = True
    cgroup_driver: str = "cgroupfs"
    """cgroupfs or systemd; must be what the runtime uses."""
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    kube_reserved: Mapping[str, str] = field(default_factory=dict)
    eviction_memory: str = "100Mi"
    """memory.available below this is MemoryPressure."""
    eviction_disk: str = "10%"
    """nodefs.available below this is DiskPressure: a quantity or a share of the capacity."""
    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    log_max_size: int = 10 * 1024 * 1024
    log_max_files: int = 5
    status_interval: float = 10.0
    """How often the node's status is worked out; it is written when it differs, or after `report_interval`."""
    report_interval: float = 300.0
    lease_seconds: int = 40
    lease_interval: float = 10.0
    relist_interval: float = 10.0
    """How often the runtime is listed though its events said nothing; 1 s when it has no events."""
    volume_interval: float = 60.0
    """How often ConfigMaps, Secrets and tokens in running pods are looked at though no watch said anything."""
    max_restart_wait: float = 300.0

    @property
    def pods_dir(self) -> Path:
        return Path(self.root_dir) / "pods"


_FILE_FIELDS: Mapping[str, str] = {
    "address": "address",
    "port": "port",
    "healthzBindAddress": "healthz_address",
    "healthzPort": "healthz_port",
    "clusterDomain": "cluster_domain",
    "tlsCertFile": "tls_cert_file",
    "tlsPrivateKeyFile": "tls_key_file",
    "maxPods": "max_pods",
    "staticPodPath": "pod_manifest_path",
    "podCIDR": "pod_cidr",
    "resolvConf": "resolv_conf",
    "cgroupRoot": "cgroup_root",
    "cgroupsPerQOS": "cgroups_per_qos",
    "cgroupDriver": "cgroup_driver",
    "providerID": "provider_id",
    "registerNode": "register_node",
    "systemReserved": "system_reserved",
    "kubeReserved": "kube_reserved",
    "imageGCHighThresholdPercent": "image_gc_high_percent",
    "imageGCLowThresholdPercent": "image_gc_low_percent",
    "containerLogMaxFiles": "log_max_files",
    "containerRuntimeEndpoint": "runtime_endpoint",
    "podLogsDir": "log_dir",
    "nodeLeaseDurationSeconds": "lease_seconds",
}


def from_configuration(document: Mapping[str, Any]) -> dict[str, Any]:
    """
    The settings that a KubeletConfiguration gives, by our names.

    Fields that tune what this kubelet does not have are left alone: a file written for upstream works here.
    Raises SettingsError for another kind or a value of a wrong type.
    """
    if document.get("kind") not in (None, "KubeletConfiguration"):
        raise SettingsError(
            f"the kubelet's configuration has kind {document.get('kind')!r}, not KubeletConfiguration:"
            " give --config a file of that kind"
        )
    found: dict[str, Any] = {}
    for theirs, ours in _FILE_FIELDS.items():
        if document.get(theirs) is not None:
            found[ours] = document[theirs]
    if document.get("clusterDNS"):
        found["cluster_dns"] = tuple(document["clusterDNS"])
    if document.get("registerWithTaints"):
        found["taints"] = tuple(document["registerWithTaints"])
    authentication = document.get("authentication") or {}
    if ca := (authentication.get("x509") or {}).get("clientCAFile"):
        found["client_ca_file"] = ca
    if (anonymous := (authentication.get("anonymous") or {}).get("enabled")) is not None:
        found["anonymous_auth"] = anonymous
    if mode := (document.get("authorization") or {}).get("mode"):
        found["authorization_mode"] = mode
    hard = document.get("evictionHard") or {}
    if "memory.available" in hard:
        found["eviction_memory"] = hard["memory.available"]
    if "nodefs.available" in hard:
        found["eviction_disk"] = hard["nodefs.available"]
    _check_types(found)
    return found


def _check_types(found: Mapping[str, Any]) -> None:
    kinds = {f.name: f.type for f in fields(KubeletSettings)}
    for name, value in found.items():
        wanted = kinds[name]
        if wanted in (int, str, bool) and (not isinstance(value, wanted) or (wanted is int and value is True)):
            raise SettingsError(f"kubelet setting {name}: {value!r} is not of type {wanted.__name__}")


def load_configuration(path: str) -> dict[str, Any]:
    """Read and translate a KubeletConfiguration file. Raises SettingsError."""
    file = Path(path)
    try:
        if file.stat().st_size > MAX_CONFIGURATION_BYTES:
            raise SettingsError(f"{path} is larger than {MAX_CONFIGURATION_BYTES} bytes: it is no KubeletConfiguration")
        document = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except OSError as error:
        raise SettingsError(f"cannot read --config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"--config {path} holds no mapping: write a KubeletConfiguration object there")
    return from_configuration(document)


def parse_labels(text: str) -> dict[str, str]:
    """`a=b,c=d`. Raises SettingsError."""
    labels = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise SettingsError(f"--node-labels: {part!r} is not key=value")
        labels[key] = value
    return labels


def parse_taints(text: str) -> tuple[Mapping[str, str], ...]:
    """`key=value:Effect,key:Effect`. Raises SettingsError."""
    taints = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        body, colon, effect = part.rpartition(":")
        key, _, value = body.partition("=")
        if not colon or not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise SettingsError(f"--register-with-taints: {part!r} is not key[=value]:Effect with a known effect")
        taints.append({"key": key, **({"value": value} if value else {}), "effect": effect})
    return tuple(taints)


def parse_quantities(text: str) -> dict[str, str]:
    """`cpu=200m,memory=150Mi` of --system-reserved."""
    return parse_labels(text)
