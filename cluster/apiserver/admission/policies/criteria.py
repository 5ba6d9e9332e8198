"""
Which requests a policy or a binding wants, and the request as they see it.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/matching/matching.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.api.resources import Resource
from cluster.apiserver.admission.matching import Rule, Selectors
from cluster.apiserver.admission.policies.plugins import Kinds
from cluster.apiserver.requests import AdmissionRequest, ObjectReader
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Criteria:
    """`matchConstraints` of a policy or `matchResources` of a binding."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    equivalent: bool
    selectors: Selectors

    @classmethod
    def of(cls, resources: Object) -> "Criteria":
        return cls(
            tuple(Rule.of(rule) for rule in resources.get("resourceRules") or ()),
            tuple(Rule.of(rule) for rule in resources.get("excludeResourceRules") or ()),
            resources.get("matchPolicy") != "Exact",
            Selectors.of(resources),
        )

    async def match(
        self, request: AdmissionRequest, reader: ObjectReader, kinds: Kinds, *, all_when_empty: bool = False
    ) -> Resource | None:
        """
        The resource as which the request is wanted, None when it is not.

        `all_when_empty`: no rules want everything, as in bindings. Raises NotFound for a namespace that is not there.
        """
        versions: Sequence[Resource] = (request.resource,)
        if self.equivalent:
            versions = (*versions, *kinds.others(request.resource))
        if any(rule.matches(request, one) for rule in self.excluded for one in versions):
            return None
        found = next((one for one in versions if any(rule.matches(request, one) for rule in self.rules)), None)
        if found is None and not self.rules and all_when_empty:
            found = request.resource
        if found is None or not self.selectors.match_object(request):
            return None
        return found if await self.selectors.match_namespace(request, reader) else None


async def seen_as(request: AdmissionRequest, resource: Resource, kinds: Kinds) -> AdmissionRequest:
    """The request with its objects in the version of `resource`; itself when that is the one asked for."""
    if resource is request.resource or request.subresource not in ("", "status"):
        return request
    obj, old = request.obj, request.old
    return replace(
        request,
        obj=None if obj is None else await kinds.bring(obj, resource),
        old=None if old is None else await kinds.bring(old, resource),
    )
