"""
Does a toleration cover a taint. Pure; the scheduler, the controllers and the kubelet have to agree on it.

Source: k8s.io/component-helpers, scheduling/corev1.
"""

from collections.abc import Iterable, Sequence

from cluster.machinery.objects import Object


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether this one toleration covers the taint. An empty key or effect stands for every one."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    return operator == "Exists" or (
        operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def first_untolerated(tolerations: Sequence[Object], taints: Iterable[Object], effects: Sequence[str]) -> Object | None:
    """The first taint of these effects that none of the tolerations covers."""
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None
