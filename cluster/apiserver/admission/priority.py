"""Priority: a pod's class becomes its number; only one class is the default."""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse, spec_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object

PRIORITY_CLASSES = resources.named("priorityclasses.scheduling.k8s.io")
DEFAULT_POLICY = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods", "priorityclasses.scheduling.k8s.io"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "pods" or request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        if request.operation == UPDATE:
            old = spec_of(request.old)
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        value, policy = 0, DEFAULT_POLICY
        if name := spec.get("priorityClassName"):
            chosen = self.reader.get(PRIORITY_CLASSES, "", name)
            if chosen is None:
                chosen = await self.reader.get_current(PRIORITY_CLASSES, "", name)
            if chosen is None:
                raise refuse(request, f"no PriorityClass with name {name} was found")
        else:
            chosen = self._default()
            if chosen is not None:
                spec["priorityClassName"] = chosen["metadata"]["name"]
        if chosen is not None:
            value = int(chosen.get("value") or 0)
            policy = chosen.get("preemptionPolicy") or DEFAULT_POLICY
        given = spec.get("priority")
        if given is not None and given != value:
            raise refuse(
                request,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission"
                f" controller computed {value} from the given PriorityClass name",
            )
        spec["priority"] = value
        given = spec.get("preemptionPolicy")
        if given is not None and given != policy:
            raise refuse(
                request,
                f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission"
                f" controller computed {policy} from the given PriorityClass name",
            )
        spec["preemptionPolicy"] = policy

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "priorityclasses" or request.obj is None or not request.obj.get("globalDefault"):
            return
        name = request.obj["metadata"].get("name")
        for other in self.reader.list(PRIORITY_CLASSES):
            if other.get("globalDefault") and other["metadata"]["name"] != name:
                raise refuse(
                    request,
                    f"PriorityClass {other['metadata']['name']} is already marked as default."
                    " Only one default can exist",
                )

    def _default(self) -> Object | None:
        """The default class; of several (made at once on two servers) the one with the lowest value."""
        defaults = [c for c in self.reader.list(PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(defaults, key=lambda c: int(c.get("value") or 0), default=None)
