"""
Validation of expressions in admission configurations: webhooks' and policies' matchConditions.

The expression engine is loaded by the first configuration that has an expression, not before.
Source: k8s.io/kubernetes, pkg/apis/admissionregistration/validation (validateMatchConditions).
"""

from cluster.api.validation.rules import Errors, listed, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

MATCH_CONDITION_LIMIT = 64


def validate_match_conditions(path: str, holder: Object) -> Errors:
    """`path` is that of the list; `holder` has it as `matchConditions`."""
    conditions = listed(holder, "matchConditions")
    errors: Errors = []
    if len(conditions) > MATCH_CONDITION_LIMIT:
        errors.append(field_errors.too_many(path, len(conditions), MATCH_CONDITION_LIMIT))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        place, name = f"{path}[{index}]", text(condition, "name")
        errors += validate_expression(f"{place}.expression", text(condition, "expression"))
        if not name:
            errors.append(field_errors.required(f"{place}.name"))
            continue
        errors += [field_errors.invalid(f"{place}.name", name, fault) for fault in names.qualified_name(name)]
        if name in seen:
            errors.append(field_errors.duplicate(f"{place}.name", name))
        seen.add(name)
    return errors


def validate_expression(path: str, expression: str) -> Errors:
    from cluster.api.cel.environment import CompileError

    if not expression.strip():
        return [field_errors.required(path)]
    try:
        compile_rule(expression)
    except (BadRuleError, UnsupportedRuleError) as fault:
        return [field_errors.invalid(path, expression, f"compilation failed: {fault}")]
    return []
