"""
MutatingAdmissionPolicy: objects changed by expressions, before the mutating webhooks see them.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/mutating (dispatcher.go, patch/); the texts are upstream's.
"""

import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.api.cel.costs import REQUEST_BUDGET
from cluster.api.cel.values import CelError
from cluster.api.resources import Resource
from cluster.apiserver.admission import evaluation
from cluster.apiserver.admission.evaluation import Evaluation, Inputs
from cluster.apiserver.admission.match_conditions import Match
from cluster.apiserver.admission.plugin import refuse
from cluster.apiserver.admission.policies import patches
from cluster.apiserver.admission.policies.bound import Binding, BoundPolicies, Invocation, Misconfigured
from cluster.apiserver.admission.policies.patches import PatchError
from cluster.apiserver.admission.policies.plugins import MUTATING, MUTATING_BINDINGS, MutatingAdmissionPolicy
from cluster.apiserver.admission.policies.programs import Mutation, Policy
from cluster.apiserver.requests import AdmissionRequest, Reinvocation
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import copy_object
from cluster.machinery.status_errors import Forbidden

_BOUND: "weakref.WeakKeyDictionary[MutatingAdmissionPolicy, BoundPolicies]" = weakref.WeakKeyDictionary()
_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Round:
    """What is kept of a request for its second round."""

    invoked: set[_Key] = field(default_factory=set)
    """Those that may run again, since the object was last changed."""
    again: set[_Key] = field(default_factory=set)
    """Those that have to."""
    output: Any = None
    """The object as the policies left it."""

    def require_all(self) -> None:
        self.again |= self.invoked
        self.invoked = set()


@dataclass(frozen=True, slots=True)
class _Fault:
    policy: Policy
    binding: Binding | None
    why: str
    reason: str = ""

    def __str__(self) -> str:
        if self.binding is None:
            return f"policy {quoted(self.policy.name)} denied request: {self.why}"
        return f"policy '{self.policy.name}' with binding '{self.binding.name}' denied request: {self.why}"


async def admit(plugin: MutatingAdmissionPolicy, request: AdmissionRequest) -> None:
    """Changes `request.obj`. Raises Forbidden when a policy fails whose failure policy is Fail."""
    bound = _BOUND.get(plugin)
    if bound is None:
        bound = _BOUND[plugin] = BoundPolicies(MUTATING, MUTATING_BINDINGS, plugin.reader, plugin.kinds)
    # All that match before anything is changed: a policy does not decide which others apply.
    found = [one async for one in bound.invocations(request)]
    if not found:
        return
    both = request.reinvocation = request.reinvocation or Reinvocation()
    state: _Round = both.state.setdefault(plugin.name, _Round())
    if both.second and state.output != request.obj:
        state.require_all()
    faults: list[_Fault] = []
    for one in found:
        if isinstance(one, Misconfigured):
            faults.append(_Fault(one.policy, one.binding, one.why))
            continue
        faults += await _invoke(plugin, bound, request, one, state, both)
    state.output = copy_object(request.obj) if request.obj is not None else None
    serious = [fault for fault in faults if fault.policy.fails]
    if serious:
        raise _refusal(request, serious)


async def _invoke(
    plugin: MutatingAdmissionPolicy,
    bound: BoundPolicies,
    request: AdmissionRequest,
    invocation: Invocation,
    state: _Round,
    both: Reinvocation,
) -> list[_Fault]:
    policy, authorizer = invocation.policy, plugin.around.authorizer
    if both.second and _key(invocation) not in state.again:
        return []
    inputs = await bound.inputs(request, invocation)
    if policy.conditions.any:
        matched = await evaluation.evaluate(
            functools.partial(_matched, policy, inputs), REQUEST_BUDGET, request, authorizer
        )
        if matched.error:
            return [_Fault(policy, invocation.binding, matched.error, "Invalid")]
        if not matched.matches:
            return []
    before = copy_object(request.obj) if request.obj is not None else None
    faults = []
    for mutation in policy.mutations:
        try:
            value = await evaluation.evaluate(
                functools.partial(_value, policy, mutation, inputs), REQUEST_BUDGET, request, authorizer
            )
            await _apply(plugin, request, inputs, invocation.resource, mutation, value)
        except (CelError, PatchError) as fault:
            faults.append(_Fault(policy, invocation.binding, str(fault), "Invalid"))
        inputs = await bound.inputs(request, invocation)  # the next mutation sees what this one did
    if request.obj != before:
        request.changed = True
        state.require_all()
        both.wanted = True
    if policy.reinvoke:
        state.invoked.add(_key(invocation))
    return faults


def _matched(policy: Policy, inputs: Inputs, current: Evaluation) -> Match:
    variables = policy.scope(current, inputs.variables(current.known))
    return policy.conditions.judge(current.part_of_match_conditions(), variables)


def _value(policy: Policy, mutation: Mutation, inputs: Inputs, current: Evaluation) -> Any:
    return mutation.expression.value(current, policy.scope(current, inputs.variables(current.known)))


async def _apply(
    plugin: MutatingAdmissionPolicy,
    request: AdmissionRequest,
    inputs: Inputs,
    resource: Resource,
    mutation: Mutation,
    value: Any,
) -> None:
    seen = inputs.request.obj
    if seen is None or request.obj is None:
        return
    changed = patches.patched(resource, seen, mutation.patch_type, value, whole=not request.subresource)
    if changed == seen:
        return
    if inputs.request is not request:
        changed = await plugin.kinds.bring(changed, request.resource)
    request.obj.clear()
    request.obj.update(changed)


def _key(invocation: Invocation) -> _Key:
    metadata = (invocation.params or {}).get("metadata") or {}
    return invocation.policy.name, invocation.binding.name, metadata.get("namespace", ""), metadata.get("name", "")


def _refusal(request: AdmissionRequest, faults: Sequence[_Fault]) -> Forbidden:
    plain = refuse(request, "admission request denied by policy")
    causes = [{"message": str(fault)} for fault in faults]
    reason = faults[0].reason or plain.status_reason
    # Upstream changes the reason and keeps the code of a Forbidden.
    return Forbidden(str(faults[0]), details={**(plain.details or {}), "causes": causes}, reason=reason)
