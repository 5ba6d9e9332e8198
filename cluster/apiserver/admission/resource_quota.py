"""
ResourceQuota: what is made must fit into what the namespace's quotas leave, and is booked there before it is stored.

Booking is a compare-and-swap on the quota's status, so two servers cannot spend the same rest twice. The controller
manager counts again later and so returns what was booked for writes that failed.
"""

from collections.abc import Sequence

from cluster.api import quota, resources
from cluster.apiserver.admission.configuration import PluginConfiguration
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, Surroundings, refuse
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.field_errors import required
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.quantity import Quantity
from cluster.machinery.status_errors import Conflict, NotFound, TooManyRequests

RESOURCE_QUOTAS = resources.named("resourcequotas")
API_VERSIONS = ("apiserver.config.k8s.io/v1", "resourcequota.admission.k8s.io/v1")
ATTEMPTS = 10
"""Tries of the compare-and-swap; upstream's bulk evaluator takes about as many."""


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    operations = frozenset({CREATE, UPDATE})

    def __init__(self, around: Surroundings) -> None:
        """Raises ValueError for a wrong configuration."""
        super().__init__(around)
        self._limited = _limited_resources(around.configurations.get(self.name))

    async def validate(self, request: AdmissionRequest) -> None:
        if not request.namespace or request.obj is None or not _concerns(request):
            return
        quotas = self.reader.list(RESOURCE_QUOTAS, request.namespace)
        if self._limited:
            self._require_quota(request, request.obj, quotas)
        # Mostly there is no quota at all: then nothing is computed.
        for existing in quotas:
            await self._charge(request, existing)

    def _require_quota(self, request: AdmissionRequest, obj: Object, quotas: Sequence[Object]) -> None:
        """What is limited by configuration may only be used where a quota says how much of it."""
        qualified = request.resource.qualified
        parts = [part for limited, contains in self._limited if limited == qualified for part in contains]
        if not parts:
            return
        before = quota.usage_of(qualified, request.old) if request.old is not None else {}
        used = [
            name
            for name, amount in quota.usage_of(qualified, obj).items()
            if amount > before.get(name, quota.ZERO) and any(part in name for part in parts)
        ]
        covered = {
            name
            for existing in quotas
            if quota.scopes_match(existing, qualified, obj)
            for name in (existing.get("status") or {}).get("hard") or {}
        }
        if missing := sorted(set(used) - covered):
            raise refuse(request, f"insufficient quota to consume: {','.join(missing)}")

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


def _limited_resources(given: PluginConfiguration | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(`pods`, parts of the names of what they use) each."""
    if given is None:
        return ()
    reading = given.open("Configuration", API_VERSIONS)
    reading.known(given.fields, "", ("kind", "apiVersion", "limitedResources"))
    found = []
    for at, one in reading.objects(given.fields.get("limitedResources"), "limitedResources"):
        # By scopes upstream can limit too; here nobody shall believe that they are looked at.
        reading.known(one, at, ("apiGroup", "resource", "matchContains"))
        plural = reading.text(one.get("resource"), f"{at}.resource")
        group = reading.text(one.get("apiGroup"), f"{at}.apiGroup")
        if not plural:
            reading.faults.append(required(f"{at}.resource"))
        contains = reading.words(one.get("matchContains"), f"{at}.matchContains")
        found.append((f"{plural}.{group}" if group else plural, contains))
    reading.finish("resource quota Configuration")
    return tuple(found)


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
