"""
ValidatingAdmissionPolicy: what its expressions say, and what the bindings make of that.

The texts are upstream's. Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating: validator.go, dispatcher.go.
"""

import functools
import weakref
from dataclasses import dataclass, field
from typing import Any

import orjson

from cluster.api.cel.costs import REQUEST_BUDGET
from cluster.api.cel.values import CelError, type_name
from cluster.apiserver.admission import evaluation
from cluster.apiserver.admission.evaluation import Evaluation, Inputs, OutOfBudgetError
from cluster.apiserver.admission.plugin import refuse
from cluster.apiserver.admission.policies.bound import Binding, BoundPolicies, Misconfigured
from cluster.apiserver.admission.policies.plugins import VALIDATING, VALIDATING_BINDINGS, ValidatingAdmissionPolicy
from cluster.apiserver.admission.policies.programs import Policy, Validation
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.status_errors import Forbidden

MESSAGE_LIMIT = 5 * 1024
"""Bytes of a message that an expression made; longer ones are not shown."""
ANNOTATION_LIMIT = 10 * 1024
FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}

_BOUND: "weakref.WeakKeyDictionary[ValidatingAdmissionPolicy, BoundPolicies]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Failure:
    """A validation that does not hold, or something that failed under failure policy Fail."""

    message: str
    reason: str = ""
    index: int = 0


@dataclass(slots=True)
class Outcome:
    failures: list[Failure] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    annotation_faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Denial:
    policy: Policy
    binding: Binding | None
    failure: Failure


async def admit(plugin: ValidatingAdmissionPolicy, request: AdmissionRequest) -> None:
    """Raises Forbidden, with the reason and code that the policy wants."""
    bound = _BOUND.get(plugin)
    if bound is None:
        bound = _BOUND[plugin] = BoundPolicies(VALIDATING, VALIDATING_BINDINGS, plugin.reader, plugin.kinds)
    denials: list[_Denial] = []
    annotations: dict[tuple[str, str], dict[str, None]] = {}
    async for found in bound.invocations(request):
        if isinstance(found, Misconfigured):
            if found.policy.fails:
                denials.append(_Denial(found.policy, found.binding, Failure(found.why)))
            continue
        inputs = await bound.inputs(request, found)
        policy = found.policy
        outcome = await evaluation.evaluate(
            functools.partial(judge, policy, inputs), REQUEST_BUDGET, request, plugin.around.authorizer
        )
        for failure in outcome.failures:
            denials += _act(request, policy, found.binding, failure)
        denials += [_Denial(policy, found.binding, Failure(why)) for why in outcome.annotation_faults]
        for key, value in outcome.annotations:
            annotations.setdefault((policy.name, key), {})[value] = None
    for (name, key), values in annotations.items():
        request.annotations[f"{name}/{key}"] = ", ".join(values)
    if denials:
        raise _refusal(request, denials[0])


def _act(request: AdmissionRequest, policy: Policy, binding: Binding, failure: Failure) -> list[_Denial]:
    denials = []
    for action in binding.actions:
        match action:
            case "Deny":
                denials.append(_Denial(policy, binding, failure))
            case "Warn":
                request.warnings.append(
                    f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                    f"{failure.message}"
                )
            case "Audit":
                told = {
                    "message": failure.message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": failure.index,
                    "validationActions": list(binding.actions),
                }
                request.annotations.setdefault(FAILURE_ANNOTATION, orjson.dumps([told]).decode())
            case _:
                continue
    return denials


def _refusal(request: AdmissionRequest, denial: _Denial) -> Forbidden:
    with_binding = f" with binding '{denial.binding.name}'" if denial.binding is not None else ""
    why = f"ValidatingAdmissionPolicy '{denial.policy.name}'{with_binding} denied request: {denial.failure.message}"
    plain = refuse(request, why)
    reason = denial.failure.reason or "Invalid"
    details = {**(plain.details or {}), "causes": [{"message": why}]}
    return Forbidden(plain.message, details=details, reason=reason, code=_CODES.get(reason, 422))


def judge(policy: Policy, inputs: Inputs, current: Evaluation) -> Outcome:
    """What a policy says about a request, with one set of params."""
    outcome = Outcome()
    variables = policy.scope(current, inputs.variables(current.known))
    matched = policy.conditions.judge(current.part_of_match_conditions(), variables)
    if matched.error:
        outcome.failures.append(Failure(matched.error))
    if not matched.matches:
        return outcome
    try:
        for index, validation in enumerate(policy.validations):
            failure = _failure(policy, validation, index, variables, current)
            if failure is not None:
                outcome.failures.append(failure)
    except OutOfBudgetError as fault:
        return Outcome([Failure(str(fault))] if policy.fails else [])
    for key, expression in policy.annotations:
        try:
            value = expression.value(current, variables)
        except CelError as fault:
            if policy.fails:
                outcome.annotation_faults.append(str(fault))
            continue
        if isinstance(value, str):
            if text := value.strip():
                outcome.annotations.append((key, text.encode()[:ANNOTATION_LIMIT].decode(errors="ignore")))
        elif value is not None:
            outcome.annotation_faults.append(
                f"valueExpression '{expression.text}' resulted in unsupported return type: {type_name(value)}. "
                "Return type must be either string or null."
            )
    return outcome


def _failure(
    policy: Policy, validation: Validation, index: int, variables: dict[str, Any], current: Evaluation
) -> Failure | None:
    try:
        held = validation.expression.value(current, variables)
    except OutOfBudgetError:
        raise
    except CelError as fault:
        return Failure(str(fault), index=index) if policy.fails else None
    if held is True:
        return None
    message = _told(validation, variables, current) or validation.message.strip()
    return Failure(message or f"failed expression: {validation.expression.text.strip()}", validation.reason, index)


def _told(validation: Validation, variables: dict[str, Any], current: Evaluation) -> str:
    """What the messageExpression says; empty when it says nothing that can be shown."""
    if validation.message_expression is None:
        return ""
    try:
        text = validation.message_expression.value(current, variables)
    except CelError:
        return ""  # upstream falls back to the fixed message as well
    text = text.strip() if isinstance(text, str) else ""
    return "" if "\n" in text or len(text.encode()) > MESSAGE_LIMIT else text
