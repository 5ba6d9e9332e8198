"""
The policies that are in force for a request: policy, binding and params that match it.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/generic/policy_dispatcher.go.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from cluster.api.resources import NAMESPACES, Resource
from cluster.apiserver.admission.evaluation import Inputs, namespace_value
from cluster.apiserver.admission.matching import is_namespace
from cluster.apiserver.admission.policies import params
from cluster.apiserver.admission.policies.criteria import Criteria, seen_as
from cluster.apiserver.admission.policies.params import ConfigurationError
from cluster.apiserver.admission.policies.plugins import Kinds
from cluster.apiserver.admission.policies.programs import Policy, Programs
from cluster.apiserver.admission.request_variables import request_value
from cluster.apiserver.requests import AdmissionRequest, ObjectReader
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, not_found


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    criteria: Criteria | None
    actions: tuple[str, ...]
    obj: Object


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """A policy or a binding that cannot be used, which counts as a failure of the policy."""

    policy: Policy
    binding: Binding | None
    why: str


@dataclass(frozen=True, slots=True)
class Invocation:
    """One evaluation to be done."""

    policy: Policy
    binding: Binding
    params: Object | None
    resource: Resource
    """The resource as which the policy sees the request."""


class BoundPolicies:
    """All policies of one kind with their bindings, read again when one of them changes."""

    def __init__(self, policies: Resource, bindings: Resource, reader: ObjectReader, kinds: Kinds) -> None:
        self._resources = policies, bindings
        self._reader = reader
        self._kinds = kinds
        self._programs = Programs()
        self._versions: tuple[int, ...] = ()
        self._bound: list[tuple[Object, list[Binding]]] = []

    def now(self) -> Sequence[tuple[Object, list[Binding]]]:
        """By name. A policy without a binding has no effect."""
        versions = tuple(self._reader.version(resource) for resource in self._resources)
        if versions != self._versions:
            bindings: dict[str, list[Binding]] = {}
            for obj in sorted(self._reader.list(self._resources[1]), key=_name):
                bindings.setdefault(obj["spec"]["policyName"], []).append(_binding(obj))
            policies = sorted(self._reader.list(self._resources[0]), key=_name)
            self._bound = [(policy, found) for policy in policies if (found := bindings.get(_name(policy)))]
            self._versions = versions
        return self._bound

    async def invocations(self, request: AdmissionRequest) -> AsyncIterator[Invocation | Misconfigured]:
        for obj, bindings in self.now():
            policy = self._programs.of(obj)
            try:
                resource = await policy.criteria.match(request, self._reader, self._kinds)
            except ApiError as fault:
                yield Misconfigured(policy, None, f"failed to configure policy: {fault}")
                continue
            if resource is None:
                continue
            try:
                param_resource = params.resource_of(policy.param_kind, self._kinds) if policy.param_kind else None
            except ConfigurationError as fault:
                yield Misconfigured(policy, None, f"failed to configure policy: {fault}")
                continue
            for binding in bindings:
                try:
                    found = await self._params(request, binding, param_resource)
                except (ApiError, ConfigurationError) as fault:
                    yield Misconfigured(policy, binding, f"failed to configure binding: {fault}")
                    continue
                for one in found:
                    yield Invocation(policy, binding, one, resource)

    async def _params(
        self, request: AdmissionRequest, binding: Binding, resource: Resource | None
    ) -> Sequence[Object | None]:
        """None of them when the binding does not want the request."""
        if binding.criteria is not None:
            wanted = await binding.criteria.match(request, self._reader, self._kinds, all_when_empty=True)
            if wanted is None:
                return ()
        return await params.collect(resource, binding.obj, request.namespace, self._reader)

    async def inputs(self, request: AdmissionRequest, invocation: Invocation) -> Inputs:
        """Raises NotFound when the request's namespace does not exist."""
        namespace = None
        if request.namespace and not is_namespace(request):
            found = self._reader.get(NAMESPACES, "", request.namespace)
            if found is None:
                found = await self._reader.get_current(NAMESPACES, "", request.namespace)
            if found is None:
                raise not_found("", "namespaces", request.namespace)
            namespace = namespace_value(found)
        seen = await seen_as(request, invocation.resource, self._kinds)
        return Inputs(seen, request_value(request, invocation.resource), invocation.params, namespace)


def _binding(obj: Object) -> Binding:
    spec = obj["spec"]
    resources = spec.get("matchResources")
    return Binding(
        _name(obj),
        Criteria.of(resources) if resources is not None else None,
        tuple(spec.get("validationActions") or ()),
        obj,
    )


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])
