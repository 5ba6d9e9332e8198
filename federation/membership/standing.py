"""
A member's health and facts as the status of its Cluster. Pure.

Conditions are v1 federation's Ready and Offline, and Isolated where the federation takes itself to be cut off.
"""

from collections.abc import Iterable

from cluster.machinery.objects import Object
from federation.membership.health import PENDING, READY, SUSPECT, Health

_READY = {
    PENDING: ("Unknown", "NotProbedYet"),
    READY: ("True", "ClusterReady"),
    SUSPECT: ("Unknown", "ProbesMissed"),
}
_UNREACHABLE = ("False", "ClusterNotReachable")
OWN_CONDITIONS = frozenset({"Ready", "Offline", "Isolated", "DeletionsWait"})
"""What others say of a member under other names stays as they say it."""
ISOLATED = "half of the members were lost at once: the federation takes itself to be cut off and moves nothing"


def status_of(
    before: Object, health: Health, facts: Object | None, now: str, *, isolated: bool, more: Iterable[Object] = ()
) -> Object:
    """
    What the status should be.

    Args:
        before: the present status; times of conditions that stay are taken from it.
        facts: newly collected ones; None leaves those of before.
        now: RFC 3339.
        more: conditions that others have found, without their times.
    """
    status, reason = _READY.get(health.phase, _UNREACHABLE)
    ready = _condition("Ready", status, reason, health.message or "GET /readyz is answered")
    gone = status == "False"
    offline = _condition("Offline", "True" if gone else "False", reason, health.message or "the member answers")
    wanted = [ready, offline]
    if isolated:
        wanted.append(_condition("Isolated", "True", "MembersLostAtOnce", ISOLATED))
    wanted += [dict(one) for one in more]
    known = {one["type"]: one for one in before.get("conditions") or ()}
    for condition in wanted:
        old = known.get(condition["type"], {})
        same = old.get("status") == condition["status"]
        condition["lastTransitionTime"] = old.get("lastTransitionTime", now) if same else now
        if same and old.get("reason") == condition["reason"]:
            # Texts of later misses differ in nothing that matters; rewriting them would be a write every two seconds.
            condition["message"] = old.get("message", condition["message"])
    ours = OWN_CONDITIONS | {one["type"] for one in wanted}
    wanted += [one for one in before.get("conditions") or () if one["type"] not in ours]
    return {**before, **(facts or {}), "phase": health.phase, "conditions": wanted}


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
