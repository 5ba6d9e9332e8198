"""
An agent speaks for its own cluster: what it may write, seen by content and not only by name.

Pairs with member_authorizer, which decides by names alone. Into a Placement's status it writes its own entry, into its
Cluster's status what its cluster has; phase and conditions are the federation's judgement.
"""

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, metadata_of, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object
from federation.membership import agents

OWN_FIELDS = frozenset({"kubernetesVersion", "region", "zones", "nodes", "resources", "apis", "sightings"})
"""Of Cluster.status."""
_KEPT = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})
"""Of metadata: agents change none of these."""


class MemberRestriction(Plugin):
    name = "MemberRestriction"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset(
        {
            "clusters.federation",
            "placements.federation.hanse.io",
            "clusterplacements.federation.hanse.io",
            "leases.coordination.k8s.io",
            "certificatesigningrequests.certificates.k8s.io",
        }
    )

    async def validate(self, request: AdmissionRequest) -> None:
        groups = request.user.groups
        if request.resource.plural == "certificatesigningrequests":
            asks = agents.BOOTSTRAPPERS in groups or agents.RETURNING in groups or agents.GROUP in groups
            if asks and spec_of(request.obj).get("signerName") != agents.SIGNER:
                raise refuse(request, f"agents of members ask the signer {agents.SIGNER}")
            return
        if agents.GROUP not in groups:
            return
        cluster = agents.cluster_of(request.user.name, groups)
        if cluster is None:
            raise refuse(request, f"cannot tell which member {request.user.name} is")
        if request.resource.plural == "leases":
            _lease(request, cluster)
            return
        if request.subresource != "status" or request.old is None:
            raise refuse(request, f"cluster {cluster} writes status alone")
        if _metadata(request.obj) != _metadata(request.old):
            raise refuse(request, f"cluster {cluster} changes no labels, annotations, finalizers and owners")
        if request.resource.plural == "clusters":
            _own_facts(request, cluster)
        else:
            _own_entry(request, cluster)


def _lease(request: AdmissionRequest, cluster: str) -> None:
    name = request.name or metadata_of(request).get("name")
    if name != agents.lease_name(cluster):
        raise refuse(request, f"the only Lease of cluster {cluster} is {agents.lease_name(cluster)}")
    if (metadata_of(request).get("labels") or {}).get(agents.HEARTBEAT) != cluster:
        raise refuse(request, f"a heartbeat has the label {agents.HEARTBEAT}={cluster}")


def _own_facts(request: AdmissionRequest, cluster: str) -> None:
    if request.name != cluster:
        raise refuse(request, f"cluster {cluster} writes its own status alone")
    old, new = _status(request.old), _status(request.obj)
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if foreign := sorted(changed - OWN_FIELDS):
        raise refuse(request, f"the federation alone writes status.{foreign[0]}")


def _own_entry(request: AdmissionRequest, cluster: str) -> None:
    def others(status: Object) -> tuple[Object, Object]:
        rest = {key: value for key, value in status.items() if key != "clusters"}
        return rest, {one["name"]: one for one in status.get("clusters") or () if one["name"] != cluster}

    if others(_status(request.old)) != others(_status(request.obj)):
        raise refuse(request, f"cluster {cluster} reports about itself alone")


def _status(obj: Object | None) -> Object:
    return (obj or {}).get("status") or {}


def _metadata(obj: Object | None) -> Object:
    metadata = (obj or {}).get("metadata") or {}
    return {key: metadata[key] for key in _KEPT if metadata.get(key)}
