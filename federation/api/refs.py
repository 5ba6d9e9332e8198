"""How an object of the federation is called, whichever version of it is read; and where its Placement is. Pure."""

from typing import NamedTuple

from cluster.api.resources import Resource
from cluster.machinery.objects import Key, Object
from federation.api.resources import CLUSTER_PLACEMENTS, PLACEMENTS, placement_name


class Ref(NamedTuple):
    """One object; the namespace of a cluster-scoped one is empty."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


def ref_of(obj: Object) -> Ref:
    """Of an object with apiVersion and kind."""
    metadata = obj["metadata"]
    return Ref(group_of(obj["apiVersion"]), obj["kind"], metadata.get("namespace") or "", metadata["name"])


def ref_of_template(placement: Object) -> Ref:
    """Of the object that a Placement or ClusterPlacement is about."""
    template = placement["spec"]["template"]
    return Ref(group_of(template["apiVersion"]), template["kind"], template.get("namespace") or "", template["name"])


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def placement_key(ref: Ref) -> Key:
    """Where the Placement is, in `placement_resource`."""
    return Key(ref.namespace, placement_name(ref.group, ref.kind, ref.name))


def placement_resource(ref: Ref) -> Resource:
    return PLACEMENTS if ref.namespace else CLUSTER_PLACEMENTS


def outliving_key(ref: Ref) -> Key:
    """
    Where the tombstones of an object are once its namespace is gone: among the ClusterPlacements.

    Kinds have a namespace or have none, and no namespace holds a dot: no other ClusterPlacement is called so.
    """
    return Key("", placement_name(ref.group, ref.kind, f"{ref.namespace}.{ref.name}"))
