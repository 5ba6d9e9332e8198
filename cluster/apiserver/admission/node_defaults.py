"""TaintNodesByCondition and DefaultTolerationSeconds: nodes start untrusted, pods survive a short absence of theirs."""

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
TOLERATION_SECONDS = 300


class TaintNodesByCondition(Plugin):
    """A new Node takes no pods until the node lifecycle controller has seen it Ready."""

    name = "TaintNodesByCondition"
    operations = frozenset({CREATE})
    resources = frozenset({"nodes"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class DefaultTolerationSeconds(Plugin):
    """A pod stays 300 s on a node that is not ready or unreachable, unless it says otherwise."""

    name = "DefaultTolerationSeconds"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.subresource or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        missing = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            for key in (NOT_READY, UNREACHABLE)
            if not any(_concerns(toleration, key) for toleration in tolerations)
        ]
        if missing:
            spec["tolerations"] = [*tolerations, *missing]


def _concerns(toleration: Object, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
