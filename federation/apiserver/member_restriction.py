"""
An agent speaks for its own cluster: what it may write, seen by content and not only by name.

Pairs with member_authorizer, which decides by names alone. Into a Placement's status it writes its own entry, into its
Cluster's status what its cluster has; phase and conditions are the federation's judgement.
"""

import datetime as dt

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, metadata_of, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.timestamps import format_time
from federation.controllers.links.brakes import CONFIRM
from federation.controllers.links.parts import clusters_of
from federation.membership import agents

OWN_FIELDS = frozenset(
    {"kubernetesVersion", "region", "zones", "nodes", "resources", "apis", "shortages", "sightings", "agentConditions"}
)
"""Of Cluster.status."""
_WORKED_OUT = frozenset({"clusters", "conditions", "observedGeneration"})


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

    async def mutate(self, request: AdmissionRequest) -> None:
        """What a Placement's status says of all members together follows from their entries."""
        if not request.resource.plural.endswith("placements") or request.subresource != "status":
            return
        if agents.GROUP not in request.user.groups or request.obj is None:
            return
        from federation.controllers.links.reporter import status_with  # for federations that have agents

        given, old = request.obj.get("status"), _status(request.old)
        if not isinstance(given, dict):
            return
        asked = {**request.obj, "status": {**given, "conditions": old.get("conditions") or []}}
        try:
            worked_out = status_with(asked, {}, format_time(dt.datetime.now(dt.UTC)))
            kept = {one["name"] for one in worked_out["clusters"]}
            before = {one["name"] for one in old.get("clusters") or ()}
            # Leftovers of clusters that have nothing to do with it any more go; what is new is judged by `validate`.
            clusters = [one for one in given.get("clusters") or () if one["name"] in kept or one["name"] not in before]
            request.obj["status"] = {**worked_out, "clusters": clusters}
        except (KeyError, TypeError, AttributeError):
            return  # an entry of a wrong shape: validation comes next, and says which

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
        if request.resource.plural == "clusters" and not request.subresource:
            _confirmation_used(request, cluster)
            return
        if request.subresource != "status" or request.old is None:
            raise refuse(request, f"cluster {cluster} writes status alone")
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


def _confirmation_used(request: AdmissionRequest, cluster: str) -> None:
    """The confirmation of deletions is taken away by who carried them out; nothing else of a Cluster is his."""

    def rest(obj: Object | None) -> Object:
        found = copy_object(obj or {})
        metadata = found.get("metadata") or {}
        annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != CONFIRM}
        for written_by_servers in ("managedFields", "resourceVersion", "generation"):
            metadata.pop(written_by_servers, None)
        return {**found, "annotations": annotations}

    kept = CONFIRM in (metadata_of(request).get("annotations") or {})
    if request.name != cluster or request.old is None or kept or rest(request.obj) != rest(request.old):
        raise refuse(request, f"cluster {cluster} takes away {CONFIRM} of its own Cluster, and changes nothing else")


def _own_facts(request: AdmissionRequest, cluster: str) -> None:
    if request.name != cluster:
        raise refuse(request, f"cluster {cluster} writes its own status alone")
    old, new = _status(request.old), _status(request.obj)
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if foreign := sorted(changed - OWN_FIELDS):
        raise refuse(request, f"the federation alone writes status.{foreign[0]}")


def _own_entry(request: AdmissionRequest, cluster: str) -> None:
    def rest(status: Object) -> Object:
        return {key: value for key, value in status.items() if key not in _WORKED_OUT}

    def others(status: Object) -> Object:
        return {one["name"]: one for one in status.get("clusters") or () if one["name"] != cluster}

    old, new = _status(request.old), _status(request.obj)
    before, after = others(old), others(new)
    # Entries of clusters that the Placement does not name any more are dropped by whoever writes next.
    kept = {name: one for name, one in before.items() if name in after}
    named = clusters_of(request.old) if request.old is not None else set()
    if rest(old) != rest(new) or after != kept or (before.keys() - after.keys()) & named:
        raise refuse(request, f"cluster {cluster} reports about itself alone")


def _status(obj: Object | None) -> Object:
    return (obj or {}).get("status") or {}
