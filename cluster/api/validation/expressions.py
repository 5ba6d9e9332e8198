"""
Validation of expressions in admission configurations: webhooks' and policies' matchConditions.

The expression engine is loaded by the first configuration that has an expression, not before.
Source: k8s.io/kubernetes, pkg/apis/admissionregistration/validation (validateMatchConditions).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.api.validation.rules import Errors, listed, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

if TYPE_CHECKING:
    from cluster.api.cel.environment import Environment

MATCH_CONDITION_LIMIT = 64


def validate_match_conditions(path: str, holder: Object, *, params: bool = False) -> Errors:
    """`path` is that of the list; `holder` has it as `matchConditions`; `params` says whether they may use those."""
    conditions = listed(holder, "matchConditions")
    errors: Errors = []
    environment = _with_params() if params and conditions else None
    if len(conditions) > MATCH_CONDITION_LIMIT:
        errors.append(field_errors.too_many(path, len(conditions), MATCH_CONDITION_LIMIT))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        place, name = f"{path}[{index}]", text(condition, "name")
        errors += validate_expression(f"{place}.expression", text(condition, "expression").strip(), environment)
        if not name:
            errors.append(field_errors.required(f"{place}.name"))
            continue
        errors += [field_errors.invalid(f"{place}.name", name, fault) for fault in names.qualified_name(name)]
        if name in seen:
            errors.append(field_errors.duplicate(f"{place}.name", name))
        seen.add(name)
    return errors


def _with_params() -> "Environment":
    from cluster.api.cel import admission

    return admission.environment(params=True)


def validate_expression(
    path: str, expression: str, environment: "Environment | None" = None, wanted: Sequence[str] = ("bool",),
    missing: str = "",
) -> Errors:  # fmt: skip
    """`environment` is that of matchConditions without params when None; `missing` is the text for an empty one."""
    from cluster.api.cel import admission
    from cluster.api.cel.values import CompileError

    if not expression.strip():
        return [field_errors.required(path, missing)]
    try:
        result = (environment or admission.environment()).compile(expression).result
    except CompileError as fault:
        return [field_errors.invalid(path, expression, f"compilation failed: {fault}")]
    if not wanted or result in wanted:
        return []
    kinds = wanted[0] if len(wanted) == 1 else f"one of [{' '.join(wanted)}]"
    return [field_errors.invalid(path, expression, f"must evaluate to {kinds}")]
