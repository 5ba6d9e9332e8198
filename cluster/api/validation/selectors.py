"""Validation of label selectors inside objects."""

from typing import Any

from cluster.api.validation.metadata import validate_labels
from cluster.api.validation.rules import Errors, each, listed, mapping, named, text
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object


def validate_selector(path: str, selector: Object | None) -> Errors:
    if not selector:
        return []
    errors = validate_labels(mapping(selector, "matchLabels"), f"{path}.matchLabels")
    return errors + each(f"{path}.matchExpressions", listed(selector, "matchExpressions"), _check_expression)


SET_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def check_presence_of_values(path: str, operator: str, values: list[Any]) -> Errors:
    """In and NotIn need values, Exists and DoesNotExist forbid them; other operators are the caller's to judge."""
    if operator in ("In", "NotIn") and not values:
        detail = "must be specified when `operator` is 'In' or 'NotIn'"
        return [field_errors.required(f"{path}.values", detail)]
    if operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [field_errors.forbidden(f"{path}.values", detail)]
    return []


def _check_expression(path: str, expression: Object) -> Errors:
    operator, values = text(expression, "operator"), listed(expression, "values")
    errors = check_presence_of_values(path, operator, values)
    if operator not in SET_OPERATORS:
        errors.append(field_errors.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    errors += named(f"{path}.key", text(expression, "key"), names.qualified_name)
    for index, value in enumerate(values):
        errors += named(f"{path}.values[{index}]", value, names.label_value)
    return errors


def is_empty(selector: Object | None) -> bool:
    """Selects everything, or is absent."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))
