"""
Does a toleration cover a taint. Pure. Source: k8s.io/component-helpers, scheduling/corev1.
"""

from collections.abc import Sequence

from cluster.machinery.objects import Object


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    return operator == "Exists" or (
        operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def tolerates_all(tolerations: Sequence[Object], taints: Sequence[Object], effects: Sequence[str]) -> bool:
    """Whether every taint of these effects is covered."""
    return all(
        any(tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
        if taint.get("effect") in effects
    )
