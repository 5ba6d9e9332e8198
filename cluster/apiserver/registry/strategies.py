"""
Which strategy a resource has, and the strategies that are more than a flag.

Source: k8s.io/kubernetes, pkg/registry/*/strategy.go.
"""

from cluster.api.resources import Resource
from cluster.apiserver.custom_resources.strategy import DefinitionStrategy, InstanceStrategy
from cluster.apiserver.registry.services import ServiceStrategy
from cluster.apiserver.registry.signing_requests import SigningRequestStrategy
from cluster.apiserver.registry.strategy import DeletePlan, Strategy, keep
from cluster.machinery.objects import Object


class Generational(Strategy):
    """Counts changes of spec."""

    generation = True


class LegacyController(Generational):
    """Its pods outlive it unless the client says otherwise, as in the first API."""

    default_propagation = "Orphan"


class Returned(Strategy):
    returns_deleted = True


class ReturnedGenerational(Generational):
    returns_deleted = True


class DeploymentStrategy(Generational):
    """Its annotations are passed on to its ReplicaSets, so they count."""

    def content(self, obj: Object) -> object:
        return obj.get("spec"), obj["metadata"].get("annotations") or {}

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        """Who writes the status may annotate, and not label."""
        super().reset_for_update(new, old, subresource)
        if subresource == "status":
            keep(new["metadata"], old["metadata"], "labels")


class DaemonSetStrategy(Generational):
    """Keeps the template's generation in an annotation, as clients of the first version saw it."""

    _ANNOTATION = "deprecated.daemonset.template.generation"

    def reset_for_create(self, obj: Object) -> None:
        super().reset_for_create(obj)
        self._mark(obj, 1)

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        super().reset_for_update(new, old, subresource)
        before = ((old["metadata"].get("annotations") or {}).get(self._ANNOTATION)) or "0"
        changed = (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template")
        number = int(before) if before.isdigit() else 0
        self._mark(new, number + 1 if changed and not subresource else number)

    def _mark(self, obj: Object, generation: int) -> None:
        annotations = obj["metadata"].get("annotations") or {}
        obj["metadata"]["annotations"] = {**annotations, self._ANNOTATION: str(generation)}


class JobStrategy(Generational):
    """Makes a selector of its own unless the user insists on one."""

    default_propagation = "Orphan"

    def prepare_for_create(self, obj: Object) -> None:
        super().prepare_for_create(obj)
        spec = obj.setdefault("spec", {})
        if spec.get("manualSelector"):
            return
        uid, name = obj["metadata"]["uid"], obj["metadata"].get("name", "")
        selector = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid
        template = spec.setdefault("template", {}).setdefault("metadata", {})
        for metadata in (template, obj["metadata"]):
            labels = metadata["labels"] = dict(metadata.get("labels") or {})
            for prefix in ("batch.kubernetes.io/", ""):
                labels[f"{prefix}controller-uid"] = uid
                labels[f"{prefix}job-name"] = name


class SliceStrategy(Generational):
    def content(self, obj: Object) -> object:
        return [obj.get(k) or None for k in ("endpoints", "ports", "addressType")], obj["metadata"].get("labels") or {}


class NamespaceStrategy(Strategy):
    """Lives on while spec.finalizers names anybody."""

    def reset_for_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Active"}

    def prepare_for_create(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        finalizers = spec.setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        if subresource == "finalize":
            finalizers = (new.get("spec") or {}).get("finalizers") or []
            new["status"] = old.get("status", {})
            new["spec"] = {"finalizers": finalizers} if finalizers else {}
            return
        super().reset_for_update(new, old, subresource)
        if not subresource:
            new["spec"] = old.get("spec", {})

    def plan_delete(self, obj: Object, grace_seconds: int | None) -> DeletePlan:
        return DeletePlan(graceful=bool((obj.get("spec") or {}).get("finalizers")), grace_seconds=None)

    def on_marked(self, obj: Object) -> None:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}

    def is_held(self, obj: Object) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers"))


class PodStrategy(Generational):
    returns_deleted = True

    def reset_for_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj.get("spec") or {})}

    def prepare_for_create(self, obj: Object) -> None:
        super().prepare_for_create(obj)
        if (obj.get("spec") or {}).get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def prepare_for_update(self, new: Object, old: Object, subresource: str) -> None:
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if subresource == "status":
            status = new.setdefault("status", {})
            if not status.get("qosClass"):
                status["qosClass"] = (old.get("status") or {}).get("qosClass") or qos_class(new.get("spec") or {})

    def plan_delete(self, obj: Object, grace_seconds: int | None) -> DeletePlan:
        spec = obj.get("spec") or {}
        period = grace_seconds
        if period is None:
            period = spec.get("terminationGracePeriodSeconds")
        period = 30 if period is None else max(period, 1) if period < 0 else period
        phase = (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Failed", "Succeeded"):
            period = 0
        return DeletePlan(graceful=period > 0, grace_seconds=period)


_COMPUTE = ("cpu", "memory")


def qos_class(spec: Object) -> str:
    """Guaranteed when every container's limits of CPU and memory equal its requests, BestEffort without any."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    if spec.get("resources"):
        containers = [{"resources": spec["resources"]}]
    any_set, guaranteed = False, True
    for container in containers:
        given = container.get("resources") or {}
        requests, limits = given.get("requests") or {}, given.get("limits") or {}
        for name in _COMPUTE:
            request, limit = requests.get(name), limits.get(name)
            any_set = any_set or request not in (None, "0") or limit not in (None, "0")
            if limit in (None, "0") or (request is not None and request != limit):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


class NodeStrategy(Strategy):
    create_on_update = False

    def reset_for_create(self, obj: Object) -> None:
        """A kubelet registers with its status: both are kept."""


class PersistentVolumeStrategy(Returned):
    def reset_for_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}


class ClaimStrategy(Returned):
    def reset_for_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}


_GENERATIONAL = {
    "deployments.apps", "daemonsets.apps", "statefulsets.apps", "replicasets.apps",
    "ingresses.networking.k8s.io", "networkpolicies.networking.k8s.io", "ingressclasses.networking.k8s.io",
    "poddisruptionbudgets.policy", "cronjobs.batch", "jobs.batch",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "priorityclasses.scheduling.k8s.io", "endpointslices.discovery.k8s.io",
    "deviceclasses.resource.k8s.io",
    "resourceslices.resource.k8s.io",
}  # fmt: skip
_OWN: dict[str, type[Strategy]] = {
    "namespaces": NamespaceStrategy,
    "nodes": NodeStrategy,
    "pods": PodStrategy,
    "persistentvolumes": PersistentVolumeStrategy,
    "persistentvolumeclaims": ClaimStrategy,
    "replicationcontrollers": LegacyController,
    "serviceaccounts": Returned,
    "resourcequotas": Returned,
    "podtemplates": ReturnedGenerational,
    "daemonsets.apps": DaemonSetStrategy,
    "deployments.apps": DeploymentStrategy,
    "services": ServiceStrategy,
    "jobs.batch": JobStrategy,
    "endpointslices.discovery.k8s.io": SliceStrategy,
    "certificatesigningrequests.certificates.k8s.io": SigningRequestStrategy,
    "customresourcedefinitions.apiextensions.k8s.io": DefinitionStrategy,
}


def strategy_for(resource: Resource, *, custom: bool = False) -> Strategy:
    if custom:
        return InstanceStrategy(resource)
    found = _OWN.get(resource.qualified)
    if found is None:
        found = Generational if resource.qualified in _GENERATIONAL else Strategy
    return found(resource)
