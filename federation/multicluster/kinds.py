"""The Multi-Cluster Services API's kinds, as the federation puts them into members that do not have them."""

import functools
import hashlib
from pathlib import Path

import yaml

from cluster.api.resources import Resource
from cluster.dns.clusterset import CLUSTER_LABEL, SERVICE_LABEL
from cluster.machinery.objects import Key, Object

GROUP = "multicluster.x-k8s.io"
VERSION = f"{GROUP}/v1alpha1"
EXPORTS = Resource(GROUP, "v1alpha1", "serviceexports", "ServiceExport", True)
IMPORTS = Resource(GROUP, "v1alpha1", "serviceimports", "ServiceImport", True)
IMPORTED = "federation.hanse.io/imported"
"""Label of everything that importing makes in a member; its value is the name of the imported Service."""
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
NETWORK = "federation.hanse.io/network"
"""Label of a Cluster: Pods of clusters with the same value reach each other, those with another do not."""

__all__ = ["CLUSTER_LABEL", "SERVICE_LABEL"]


@functools.cache
def definitions() -> tuple[Object, ...]:
    """Shared; nobody may change them."""
    return tuple(yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.yaml")))


def derived_name(key: Key) -> str:
    """Of the Service whose address is the import's."""
    return f"imported-{digest(key.name)}"


def slice_name(key: Key, cluster: str, source: str) -> str:
    return f"{key.name[:200]}-{digest(cluster, source)}"


def digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
