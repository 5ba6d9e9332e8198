"""
Validation of admission policies and their bindings, the expressions among it.

Source: k8s.io/kubernetes, pkg/apis/admissionregistration/validation; the texts are upstream's.
"""

import re
from typing import TYPE_CHECKING

from cluster.api.validation.admission_rules import validate_named_rule
from cluster.api.validation.expressions import validate_expression, validate_match_conditions
from cluster.api.validation.rules import Errors, listed, mapping, one_of, required_name, text
from cluster.api.validation.selectors import validate_selector
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object

if TYPE_CHECKING:
    from cluster.api.cel.admission import Variables
    from cluster.api.cel.environment import Environment

ANNOTATION_LIMIT = 20
ANNOTATION_EXPRESSION_LIMIT = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)  # fmt: skip
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")


def validate_admission_policy(policy: Object) -> Errors:
    """Of either kind."""
    spec = mapping(policy, "spec")
    errors: Errors = []
    if (failure := spec.get("failurePolicy")) is None:
        errors.append(field_errors.required("spec.failurePolicy"))
    else:
        errors += one_of("spec.failurePolicy", failure, ("Fail", "Ignore"))
    params = spec.get("paramKind")
    if params is not None:
        errors += _check_param_kind("spec.paramKind", params)
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(field_errors.required("spec.matchConstraints"))
    else:
        path = "spec.matchConstraints"
        errors += _check_match_resources(path, constraints)
        if not listed(constraints, "resourceRules"):
            errors.append(field_errors.required(f"{path}.resourceRules"))
    errors += validate_match_conditions("spec.matchConditions", spec, params=params is not None)
    errors += _check_variables(spec)
    if policy.get("kind") == "ValidatingAdmissionPolicy":
        return errors + _check_validations(policy, spec)
    return errors + _check_mutations(spec)


def _check_param_kind(path: str, kind: Object) -> Errors:
    version, name = text(kind, "apiVersion"), text(kind, "kind")
    errors: Errors = []
    if not version:
        errors.append(field_errors.required(f"{path}.apiVersion"))
    elif version.count("/") > 1:
        errors.append(field_errors.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, short = version.rpartition("/")
        for part, check in ((group, names.dns_subdomain), (short, names.dns_1035_label)):
            if part and (faults := check(part)):
                errors.append(field_errors.invalid(f"{path}.apiVersion", part, ",".join(faults)))
        if not short:
            errors.append(field_errors.invalid(f"{path}.apiVersion", version, "version must be specified"))
    if not name:
        errors.append(field_errors.required(f"{path}.kind"))
    elif faults := names.dns_1035_label(name.lower()):
        detail = "may have mixed case, but should otherwise match: " + ",".join(faults)
        errors.append(field_errors.invalid(f"{path}.kind", name, detail))
    return errors


def _check_match_resources(path: str, resources: Object) -> Errors:
    errors: Errors = []
    if (policy := resources.get("matchPolicy")) is None:
        errors.append(field_errors.required(f"{path}.matchPolicy"))
    else:
        errors += one_of(f"{path}.matchPolicy", policy, ("Equivalent", "Exact"))
    for key in ("namespaceSelector", "objectSelector"):
        if resources.get(key) is None:
            errors.append(field_errors.required(f"{path}.{key}"))
        else:
            errors += validate_selector(f"{path}.{key}", resources[key])
    for key in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(listed(resources, key)):
            errors += validate_named_rule(f"{path}.{key}[{index}]", rule)
    return errors


def _check_variables(spec: Object) -> Errors:
    """Each may use those before it."""
    errors: Errors = []
    for index, variable in enumerate(listed(spec, "variables")):
        path, name, expression = f"spec.variables[{index}]", text(variable, "name"), text(variable, "expression")
        if not name.strip():
            errors.append(field_errors.required(f"{path}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            errors.append(field_errors.invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
        errors += _check_expression(spec, f"{path}.expression", expression, (), upto=index)
    return errors


def _check_expression(
    spec: Object, path: str, expression: str, wanted: tuple[str, ...], *, upto: int | None = None,
    authorizer: bool = True, missing: str = "expression is not specified",
) -> Errors:  # fmt: skip
    """`upto`: how many of the variables it may use; all when None."""
    if not expression.strip():
        return [field_errors.required(path, missing)]
    return validate_expression(path, expression, _environment(spec, upto, authorizer=authorizer), wanted)


def _environment(spec: Object, upto: int | None = None, *, authorizer: bool = True) -> "Environment":
    from cluster.api.cel import admission

    return admission.environment(
        params=spec.get("paramKind") is not None,
        authorizer=authorizer,
        variables=_variables(spec, upto),
        composed=bool(listed(spec, "variables")),
    )


def _variables(spec: Object, upto: int | None = None) -> "Variables":
    """What is below `variables`, with types; those that are no expressions are reported where they stand."""
    from cluster.api.cel import admission
    from cluster.api.cel.values import CompileError

    known: dict[str, str] = {}
    for variable in listed(spec, "variables")[:upto]:
        name = text(variable, "name")
        if not _IDENTIFIER.fullmatch(name):
            continue
        environment = admission.environment(
            params=spec.get("paramKind") is not None, variables=tuple(known.items()), composed=True
        )
        try:
            known[name] = admission.declared_type(environment.compile(text(variable, "expression")).result)
        except CompileError:
            known[name] = "dyn"
    return tuple(known.items())


def _check_validations(policy: Object, spec: Object) -> Errors:
    if not listed(spec, "validations") and not listed(spec, "auditAnnotations"):
        detail = "validations or auditAnnotations must contain at least one item"
        return [field_errors.required(f"spec.{key}", detail) for key in ("validations", "auditAnnotations")]
    errors: Errors = []
    for index, validation in enumerate(listed(spec, "validations")):
        errors += _check_validation(spec, f"spec.validations[{index}]", validation)
    return errors + _check_annotations(policy, spec)


def _check_validation(spec: Object, path: str, validation: Object) -> Errors:
    errors = _check_expression(spec, f"{path}.expression", text(validation, "expression"), ("bool",))
    told = text(validation, "messageExpression")
    if told and not told.strip():
        detail = "must be non-empty if specified"
        errors.append(field_errors.invalid(f"{path}.messageExpression", told, detail))
    elif told:
        errors += _check_expression(spec, f"{path}.messageExpression", told, ("string",), authorizer=False)
    message = text(validation, "message")
    if message and not message.strip():
        detail = "message must be non-empty if specified"
        errors.append(field_errors.invalid(f"{path}.message", message, detail))
    elif "\n" in message.strip() or "\r" in message.strip():
        errors.append(field_errors.invalid(f"{path}.message", message, "message must not contain line breaks"))
    if (reason := validation.get("reason")) is not None:
        errors += one_of(f"{path}.reason", reason, _REASONS)
    return errors


def _check_annotations(policy: Object, spec: Object) -> Errors:
    annotations, owner = listed(spec, "auditAnnotations"), text(mapping(policy, "metadata"), "name")
    errors: Errors = []
    if len(annotations) > ANNOTATION_LIMIT:
        detail = f"must not have more than {ANNOTATION_LIMIT} auditAnnotations"
        errors.append(field_errors.invalid("spec.auditAnnotations", annotations, detail))
    seen: set[str] = set()
    for index, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", text(annotation, "key")
        if owner:
            qualified = f"{owner}/{key}"
            errors += [
                field_errors.invalid(f"{path}.key", qualified, fault) for fault in names.qualified_name(qualified)
            ]
        else:
            errors.append(field_errors.invalid(f"{path}.key", key, "requires metadata.name be non-empty"))
        expression, place = text(annotation, "valueExpression"), f"{path}.valueExpression"
        if len(expression.strip().encode()) > ANNOTATION_EXPRESSION_LIMIT:
            detail = f"must not exceed {ANNOTATION_EXPRESSION_LIMIT} bytes in length"
            errors.append(field_errors.required(place, detail))
        else:
            errors += _check_expression(
                spec, place, expression, ("string", "null_type"), missing="valueExpression is not specified"
            )
        if key in seen:
            errors.append(field_errors.duplicate(f"{path}.key", key))
        seen.add(key)
    return errors


def _check_mutations(spec: Object) -> Errors:
    errors: Errors = []
    if not listed(spec, "mutations"):
        errors.append(field_errors.required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(listed(spec, "mutations")):
        errors += _check_mutation(spec, f"spec.mutations[{index}]", mutation)
    if (policy := spec.get("reinvocationPolicy")) is not None:
        errors += one_of("spec.reinvocationPolicy", policy, ("IfNeeded", "Never"))
    else:
        errors.append(field_errors.required("spec.reinvocationPolicy"))
    return errors


def _check_mutation(spec: Object, path: str, mutation: Object) -> Errors:
    kind = text(mutation, "patchType")
    if not kind:
        return [field_errors.required(f"{path}.patchType")]
    if kind not in ("ApplyConfiguration", "JSONPatch"):
        return one_of(f"{path}.patchType", kind, ("ApplyConfiguration", "JSONPatch"))
    own, other = ("jsonPatch", "applyConfiguration") if kind == "JSONPatch" else ("applyConfiguration", "jsonPatch")
    errors: Errors = []
    if mutation.get(own) is None:
        errors.append(field_errors.required(f"{path}.{own}", f"must be specified when patchType is {kind}"))
    else:
        expression = text(mapping(mutation, own), "expression").strip()
        errors += _check_patch(spec, f"{path}.{own}.expression", expression, kind)
    if mutation.get(other) is not None:
        detail = f"must not be specified when patchType is {kind}"
        errors.append(field_errors.invalid(f"{path}.{other}", f"{{{other}}}", detail))
    return errors


def _check_patch(spec: Object, path: str, expression: str, kind: str) -> Errors:
    if not expression:
        return [field_errors.required(path)]
    from cluster.api.cel import admission
    from cluster.api.cel.values import CompileError

    wanted = "Object" if kind == "ApplyConfiguration" else "list(JSONPatch)"
    try:
        admission.compile_mutation(
            expression,
            wanted,
            params=spec.get("paramKind") is not None,
            variables=_variables(spec),
            composed=bool(listed(spec, "variables")),
        )
    except admission.WrongTypeError as fault:
        return [field_errors.invalid(path, expression, str(fault))]
    except CompileError as fault:
        return [field_errors.invalid(path, expression, f"compilation failed: {fault}")]
    return []


def validate_admission_binding(binding: Object) -> Errors:
    spec = mapping(binding, "spec")
    errors = required_name("spec.policyName", text(spec, "policyName"), names.dns_subdomain)
    if (reference := spec.get("paramRef")) is not None:
        errors += _check_param_reference("spec.paramRef", reference)
    if (resources := spec.get("matchResources")) is not None:
        errors += _check_match_resources("spec.matchResouces", resources)  # spelled as upstream does
    if binding.get("kind") == "ValidatingAdmissionPolicyBinding":
        errors += _check_actions("spec.validationActions", listed(spec, "validationActions"))
    return errors


def _check_param_reference(path: str, reference: Object) -> Errors:
    name, selector = text(reference, "name"), reference.get("selector")
    errors = [field_errors.invalid(f"{path}.name", name, fault) for fault in names.path_segment(name)] if name else []
    exclusive = "name and selector are mutually exclusive"
    if name and selector is not None:
        errors.append(field_errors.forbidden(f"{path}.name", exclusive))
    if selector is not None:
        errors += validate_selector(f"{path}.selector", selector)
        if name:
            errors.append(field_errors.forbidden(f"{path}.selector", exclusive))
    elif not name:
        errors.append(field_errors.required(path, "one of name or selector must be specified"))
    action = text(reference, "parameterNotFoundAction")
    place = f"{path}.parameterNotFoundAction"
    return errors + (one_of(place, action, ("Deny", "Allow")) if action else [field_errors.required(place)])


def _check_actions(path: str, actions: list[str]) -> Errors:
    errors: Errors = []
    for index, action in enumerate(actions):
        errors += one_of(f"{path}[{index}]", action, ("Audit", "Deny", "Warn"))
        if action in actions[:index]:
            errors.append(field_errors.duplicate(f"{path}[{index}]", action))
    if {"Deny", "Warn"} <= set(actions):
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(field_errors.invalid(path, actions, detail))
    if not actions:
        errors.append(field_errors.required(path, "at least one validation action is required"))
    return errors
