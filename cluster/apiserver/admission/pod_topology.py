"""PodTopologyLabels: a pod that is bound gets the zone and region of its node, so it can read them of itself."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, Plugin
from cluster.apiserver.requests import AdmissionRequest

TOPOLOGY_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Plugin):
    name = "PodTopologyLabels"
    operations = frozenset({CREATE})
    resources = frozenset({"pods", "bindings"})

    async def mutate(self, request: AdmissionRequest) -> None:
        is_binding = request.subresource == "binding" or request.resource.plural == "bindings"
        if not is_binding or request.obj is None:
            return
        target = request.obj.get("target") or {}
        if target.get("kind") not in (None, "", "Node"):
            return
        node = self.reader.get(resources.NODES, "", target.get("name") or "")
        labels = ((node or {}).get("metadata") or {}).get("labels") or {}
        found = {key: labels[key] for key in TOPOLOGY_LABELS if key in labels}
        if found:
            metadata = request.obj.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **found}
