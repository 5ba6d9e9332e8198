"""What every workload demands of its selector and its pod template."""

from cluster.api.validation.pod_spec import validate_template, validate_template_metadata
from cluster.api.validation.rules import Errors, mapping, text
from cluster.api.validation.selectors import is_empty, validate_selector
from cluster.machinery import field_errors
from cluster.machinery.objects import Object

MISMATCH = "`selector` does not match template `labels`"


def selector_matches(selector: Object, labels: Object) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def _expression_matches(expression: Object, labels: Object) -> bool:
    key, values = expression.get("key") or "", expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def validate_workload_selector(path: str, selector: Object | None, what: str) -> Errors:
    """A selector must be there and must not select everything. `what` names the kind in the message."""
    if selector is None:
        return [field_errors.required(path)]
    errors = validate_selector(path, selector)
    if is_empty(selector):
        errors.append(field_errors.invalid(path, selector, f"empty selector is invalid for {what}"))
    return errors


def check_labels(path: str, spec: Object) -> Errors:
    """The template's pods must be found by the workload's own selector."""
    selector = spec.get("selector")
    labels = mapping(mapping(mapping(spec, "template"), "metadata"), "labels")
    if is_empty(selector) or selector_matches(selector or {}, labels):
        return []
    return [field_errors.invalid(f"{path}.metadata.labels", labels or None, MISMATCH)]


def validate_always_template(path: str, template: Object, kind: str) -> Errors:
    """
    The template of a workload whose pods run for ever.

    A StatefulSet's pods mount claims that its template does not name, so that their spec is judged pod by pod.
    """
    judge = validate_template_metadata if kind == "StatefulSet" else validate_template
    errors = judge(path, template)
    pod_spec = mapping(template, "spec")
    policy = text(pod_spec, "restartPolicy")
    if policy != "Always":
        errors.append(field_errors.not_supported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    if pod_spec.get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(field_errors.forbidden(f"{path}.spec.activeDeadlineSeconds", detail))
    return errors
