"""
CertificateSigningRequests: who asks is written by the server, and approving and signing are two doors.

Source: k8s.io/kubernetes, pkg/registry/certificates/certificates/strategy.go.
"""

from datetime import UTC, datetime

from cluster.apiserver.registry.strategy import Strategy
from cluster.apiserver.requests import UserInfo, user_info
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.timestamps import format_time

_REQUESTER = ("username", "uid", "groups", "extra")
_DECISIONS = ("Approved", "Denied")


class SigningRequestStrategy(Strategy):
    def note_creator(self, obj: Object, user: UserInfo) -> None:
        """What a creator says about themselves counts for nothing: approval and the signed name rest on it."""
        spec = obj.setdefault("spec", {})
        for field in _REQUESTER:
            spec.pop(field, None)
        spec.update(user_info(user))

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        wanted = new.get("status") or {}
        super().reset_for_update(new, old, subresource)
        new["spec"] = old.get("spec", {})
        if subresource == "approval":
            status = new["status"] = copy_object(old.get("status") or {})
            status.pop("conditions", None)
            if wanted.get("conditions"):
                status["conditions"] = wanted["conditions"]
        elif subresource == "status":
            status = new.setdefault("status", {})
            conditions = _with_decisions_of(old, status.get("conditions") or [])
            status.pop("conditions", None)
            if conditions:
                status["conditions"] = conditions
        if subresource:
            _stamp(new, old)


def _with_decisions_of(old: Object, conditions: list[Object]) -> list[Object]:
    """A signer may tell that it failed, but neither give an approval nor take one back."""
    decided = [c for c in (old.get("status") or {}).get("conditions") or [] if c.get("type") in _DECISIONS]
    return [*decided, *(c for c in conditions if c.get("type") not in _DECISIONS)]


def _stamp(new: Object, old: Object) -> None:
    """Times of conditions that came without: now, or when the condition turned to what it is."""
    now = format_time(datetime.now(UTC))
    before = {c.get("type"): c for c in (old.get("status") or {}).get("conditions") or []}
    for condition in (new.get("status") or {}).get("conditions") or []:
        known = before.get(condition.get("type"))
        if not condition.get("lastTransitionTime"):
            same = known is not None and known.get("status") == condition.get("status")
            kept = known.get("lastTransitionTime") if known is not None and same else None
            condition["lastTransitionTime"] = kept or now
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
