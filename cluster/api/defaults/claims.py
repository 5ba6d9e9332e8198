"""Defaults of PersistentVolumeClaims, also where they are templates inside other objects."""

from cluster.api.defaults.filling import child, fill, fill_pointer
from cluster.machinery.objects import Object


def default_claim_spec(spec: Object) -> None:
    child(spec, "resources")
    fill_pointer(spec, "volumeMode", "Filesystem")


def default_claim(claim: Object) -> None:
    default_claim_spec(child(claim, "spec"))
    fill(child(claim, "status"), "phase", "Pending")
