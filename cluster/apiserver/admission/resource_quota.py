"""
ResourceQuota: what is made must fit into what the namespace's quotas leave, and is booked there before it is stored.

Booking is a compare-and-swap on the quota's status, so two servers cannot spend the same rest twice. The controller
manager counts again later and so returns what was booked for writes that failed.
"""

from cluster.api import quota, resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.quantity import Quantity
from cluster.machinery.status_errors import Conflict, NotFound, TooManyRequests

RESOURCE_QUOTAS = resources.named("resourcequotas")
ATTEMPTS = 10
"""Tries of the compare-and-swap; upstream's bulk evaluator takes about as many."""


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    operations = frozenset({CREATE, UPDATE})

    async def validate(self, request: AdmissionRequest) -> None:
        if not request.namespace or request.obj is None or not _concerns(request):
            return
        # Mostly there is no quota at all: then nothing is computed.
        for existing in self.reader.list(RESOURCE_QUOTAS, request.namespace):
            await self._charge(request, existing)

    async def _charge(self, request: AdmissionRequest, existing: Object) -> None:
        current: Object | None = existing
        for _ in range(ATTEMPTS):
            if current is None:
                return
            booked = _booked(request, current)
            if booked is None or request.dry_run:
                return
            try:
                await self.around.writer.update(RESOURCE_QUOTAS, booked, "status")
            except Conflict:
                name = existing["metadata"]["name"]
                current = await self.reader.get_current(RESOURCE_QUOTAS, request.namespace, name)
            except NotFound:
                return
            else:
                return
        raise TooManyRequests(
            f"Operation cannot be fulfilled: the quota {existing['metadata']['name']} is changed too often; try again",
            retry_after=1,
        )


def _concerns(request: AdmissionRequest) -> bool:
    if request.resource.qualified == "pods":
        return (request.operation, request.subresource) in ((CREATE, ""), (UPDATE, "resize"), (UPDATE, ""))
    return not request.subresource


def _booked(request: AdmissionRequest, existing: Object) -> Object | None:
    """The quota with the object's cost added to `status.used`; None when the object costs it nothing."""
    if request.obj is None:
        return None
    qualified = request.resource.qualified
    # What the controller has not taken over from the spec yet is not enforced yet.
    hard = (existing.get("status") or {}).get("hard") or {}
    if not hard or not quota.scopes_match(existing, qualified, request.obj):
        return None
    name = existing["metadata"]["name"]
    if qualified == "pods" and request.operation == CREATE:
        missing = quota.missing_compute(hard, request.obj)
        if missing:
            said = "; ".join(f"{what} for: {','.join(who)}" for what, who in sorted(missing.items()))
            raise refuse(request, f"failed quota: {name}: must specify {said}")
    delta = quota.constrained(hard, quota.usage_of(qualified, request.obj))
    if request.operation == UPDATE and request.old is not None:
        before = quota.usage_of(qualified, request.old) if quota.scopes_match(existing, qualified, request.old) else {}
        delta = {what: amount - before.get(what, quota.ZERO) for what, amount in delta.items()}
    # An update that gives something back is left to the controller's next count.
    delta = {what: amount for what, amount in delta.items() if amount > quota.ZERO}
    if not delta:
        return None
    used = {what: Quantity.parse(text) for what, text in ((existing.get("status") or {}).get("used") or {}).items()}
    total = {what: used.get(what, quota.ZERO) + amount for what, amount in delta.items()}
    exceeded = sorted(what for what, amount in total.items() if Quantity.parse(hard[what]) < amount)
    if exceeded:
        requested, spent, limits = (
            ",".join(f"{what}={amounts.get(what, quota.ZERO)}" for what in exceeded)
            for amounts in (delta, used, {what: Quantity.parse(hard[what]) for what in exceeded})
        )
        raise refuse(request, f"exceeded quota: {name}, requested: {requested}, used: {spent}, limited: {limits}")
    booked = copy_object(existing)
    booked["status"]["used"] = {
        **(booked["status"].get("used") or {}),
        **{what: str(amount) for what, amount in total.items()},
    }
    return booked
