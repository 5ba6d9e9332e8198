"""
The two admission plugins of policies. Without a policy they cost one look at an attribute.

Everything else, the expression engine among it, is loaded for the first policy.
Source: k8s.io/apiserver, pkg/admission/plugin/policy/{validating,mutating}.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.admission.matching import is_exempt
from cluster.apiserver.admission.plugin import Plugin, Surroundings
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object

_GROUP = "admissionregistration.k8s.io"
VALIDATING = resources.named(f"validatingadmissionpolicies.{_GROUP}")
VALIDATING_BINDINGS = resources.named(f"validatingadmissionpolicybindings.{_GROUP}")
MUTATING = resources.named(f"mutatingadmissionpolicies.{_GROUP}")
MUTATING_BINDINGS = resources.named(f"mutatingadmissionpolicybindings.{_GROUP}")


class Kinds(Protocol):
    """What policies need to know about the resources that are served now, custom ones among them."""

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects are of this kind."""

    def others(self, resource: Resource) -> Sequence[Resource]:
        """The same objects in other versions or groups."""

    async def bring(self, obj: Object, resource: Resource) -> Object:
        """A copy of an object in the version of `resource`. Raises ApiError when it cannot be converted."""

    def on_change(self, resource: Resource, call: Callable[[], None]) -> None:
        """`call` whenever an object of the resource is made, changed or deleted."""


class _PolicyPlugin(Plugin):
    policies: Resource

    def __init__(self, around: Surroundings, kinds: Kinds) -> None:
        super().__init__(around)
        self.kinds = kinds
        self.present = False
        """There may be policies."""
        kinds.on_change(self.policies, self._look_again)

    def _look_again(self) -> None:
        self.present = True

    def _concerns(self, request: AdmissionRequest) -> bool:
        if is_exempt(request):
            return False
        if not self.reader.list(self.policies):
            self.present = False
            return False
        return True


class MutatingAdmissionPolicy(_PolicyPlugin):
    name = "MutatingAdmissionPolicy"
    policies = MUTATING

    async def mutate(self, request: AdmissionRequest) -> None:
        if self.present and request.obj is not None and self._concerns(request):
            from cluster.apiserver.admission.policies import mutating

            await mutating.admit(self, request)


class ValidatingAdmissionPolicy(_PolicyPlugin):
    name = "ValidatingAdmissionPolicy"
    policies = VALIDATING

    async def validate(self, request: AdmissionRequest) -> None:
        if self.present and self._concerns(request):
            from cluster.apiserver.admission.policies import validating

            await validating.admit(self, request)
