"""Validation of label selectors inside objects."""

from cluster.api.validation.metadata import validate_labels
from cluster.api.validation.rules import Errors, each, listed, mapping, named, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object


def validate_selector(path: str, selector: Object | None) -> Errors:
    if not selector:
        return []
    errors = validate_labels(mapping(selector, "matchLabels"), f"{path}.matchLabels")
    return errors + each(f"{path}.matchExpressions", listed(selector, "matchExpressions"), _check_expression)


def _check_expression(path: str, expression: Object) -> Errors:
    errors: Errors = []
    operator, values = text(expression, "operator"), listed(expression, "values")
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(field_errors.required(f"{path}.values", detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field_errors.forbidden(f"{path}.values", detail))
    else:
        errors.append(field_errors.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    errors += named(f"{path}.key", text(expression, "key"), names.qualified_name)
    for index, value in enumerate(values):
        errors += named(f"{path}.values[{index}]", value, names.label_value)
    return errors


def is_empty(selector: Object | None) -> bool:
    """Selects everything, or is absent."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))
