"""From an object that runs in a member to the template that means the same at the federation, or why not. Pure."""

from collections.abc import Iterable

from cluster.api.resources import Resource
from cluster.machinery.objects import Object, copy_object
from federation.placement import member_owned
from federation.placement.left_alone import is_propagated, is_propagated_kind
from federation.placement.render import MANAGED
from federation.placement.workloads import pod_template

FEDERATED = "it is federated already"


def why_not(resource: Resource, live: Object) -> str:
    """Why the object cannot be promoted; empty when it can."""
    metadata = live["metadata"]
    if not is_propagated_kind(resource) or not is_propagated(live):
        return "the federation does not propagate it"
    if (metadata.get("labels") or {}).get(MANAGED) == "true":
        return FEDERATED
    if metadata.get("deletionTimestamp"):
        return "it is being deleted"
    owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
    if owner is not None:
        return f"{owner.get('kind')} {owner.get('name')} made it and would make it again: promote that"
    return ""


def template_of(live: Object) -> Object:
    """The object without what its member decided; `live` with its apiVersion, kind and managedFields."""
    template = copy_object(live)
    member_owned.strip(template)
    life = (live.get("spec") or {}).get("ttlSecondsAfterFinished")
    if template["kind"] == "Job" and life is not None:
        template["spec"]["ttlSecondsAfterFinished"] = life  # of the whole, from now on
    if template["kind"] == "PersistentVolumeClaim":
        # The member's volume controller set it, so that it looks asked for.
        (template.get("spec") or {}).pop("volumeName", None)
    return template


def selects(service: Object, workloads: Iterable[Object]) -> bool:
    """Whether a Service is meant for the Pods of one of these."""
    wanted = (service.get("spec") or {}).get("selector") or {}
    if not wanted:
        return False
    for workload in workloads:
        pod = pod_template(workload)
        labels = ((pod or {}).get("metadata") or {}).get("labels") or {}
        if pod is not None and all(labels.get(key) == value for key, value in wanted.items()):
            return True
    return False


def keeps_data(template: Object) -> bool:
    """Whether its Pods keep data in volumes that stay behind when they move."""
    spec = template.get("spec") or {}
    pod = pod_template(template) or {}
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return bool(spec.get("volumeClaimTemplates")) or any("persistentVolumeClaim" in volume for volume in volumes)
