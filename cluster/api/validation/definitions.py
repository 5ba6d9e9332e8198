"""
Validation of what a CustomResourceDefinition says beside its names: schemas, columns, subresources, selectable fields.

Source: k8s.io/apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from collections.abc import Sequence
from typing import Any

from cluster.api.structural_schema import paths
from cluster.api.structural_schema.structure import validate_schema, versions_share_schema
from cluster.api.validation.rules import Errors, listed, mapping, one_of, text
from cluster.api.validation.webhook_clients import (
    review_versions,
    validate_bundle,
    validate_client,
    validate_review_versions,
)
from cluster.machinery import field_errors
from cluster.machinery.objects import Object

APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_LIMIT = 8


def validate_versions(definition: Object) -> Errors:
    """Faults of the versions' contents."""
    spec = mapping(definition, "spec")
    versions = listed(spec, "versions")
    errors: Errors = []
    if spec.get("preserveUnknownFields"):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        errors.append(field_errors.invalid("spec.preserveUnknownFields", True, detail))
    if versions and versions_share_schema(versions):
        schema = mapping(mapping(versions[0], "schema"), "openAPIV3Schema")
        errors += validate_schema(schema, "spec.validation.openAPIV3Schema") if schema else []
    else:
        for index, version in enumerate(versions):
            schema = mapping(mapping(version, "schema"), "openAPIV3Schema")
            errors += validate_schema(schema, f"spec.versions[{index}].schema.openAPIV3Schema") if schema else []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        for at, column in enumerate(listed(version, "additionalPrinterColumns")):
            errors += _check_column(f"{path}.additionalPrinterColumns[{at}]", column)
        errors += _check_scale(f"{path}.subresources.scale", mapping(version, "subresources").get("scale"))
        errors += _check_selectable(f"{path}.selectableFields", version)
    return errors + _check_conversion(mapping(spec, "conversion"), versions)


def validate_approval(definition: Object) -> Errors:
    """Groups of the Kubernetes project need its approval."""
    group = text(mapping(definition, "spec"), "group")
    if not any(group == suffix or group.endswith(f".{suffix}") for suffix in _PROTECTED):
        return []
    value = mapping(mapping(definition, "metadata"), "annotations").get(APPROVAL) or ""
    path = f"metadata.annotations[{APPROVAL}]"
    if not value:
        detail = (
            f'protected groups must have approval annotation "{APPROVAL}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        return [field_errors.required(path, detail)]
    if value.startswith(("https://", "http://", "unapproved")):
        return []
    detail = (
        f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with '
        '"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    )
    return [field_errors.invalid(path, value, detail)]


def _check_column(path: str, column: Object) -> Errors:
    errors: Errors = []
    if not text(column, "name"):
        errors.append(field_errors.required(f"{path}.name"))
    kind = text(column, "type")
    if not kind:
        choices = ", ".join(_COLUMN_TYPES)
        errors.append(field_errors.required(f"{path}.type", f"must be one of {choices}"))
    elif kind not in _COLUMN_TYPES:
        choices = ", ".join(_COLUMN_TYPES)
        errors.append(field_errors.invalid(f"{path}.type", kind, f"must be one of {choices}"))
    if (name := text(column, "format")) and name not in _COLUMN_FORMATS:
        choices = ", ".join(_COLUMN_FORMATS)
        errors.append(field_errors.invalid(f"{path}.format", name, f"must be one of {choices}"))
    where = text(column, "jsonPath")
    if not where:
        errors.append(field_errors.required(f"{path}.JSONPath"))
        return errors
    try:
        paths.parse(where)
        if not where.startswith("."):
            raise paths.BadPathError("must be a simple json path starting with .")
    except paths.BadPathError as fault:
        errors.append(field_errors.invalid(f"{path}.JSONPath", where, str(fault)))
    return errors


def _check_scale(path: str, scale: Any) -> Errors:
    if not isinstance(scale, dict):
        return []
    errors: Errors = []
    for key, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        where = text(scale, key)
        if not where:
            if key != "labelSelectorPath":
                errors.append(field_errors.required(f"{path}.{key}"))
            continue
        try:
            paths.simple_names(where)
        except paths.BadPathError:
            detail = "should be a simple json path in dot notation"
            errors.append(field_errors.invalid(f"{path}.{key}", where, detail))
            continue
        if not where.startswith(roots):
            detail = "should be a json path under " + " or ".join(root.rstrip(".") for root in roots)
            errors.append(field_errors.invalid(f"{path}.{key}", where, detail))
    return errors


def _check_selectable(path: str, version: Object) -> Errors:
    fields = listed(version, "selectableFields")
    errors: Errors = []
    if len(fields) > _SELECTABLE_LIMIT:
        errors.append(field_errors.too_many(path, len(fields), _SELECTABLE_LIMIT))
    schema = mapping(mapping(version, "schema"), "openAPIV3Schema")
    seen: set[str] = set()
    for index, entry in enumerate(fields):
        place, where = f"{path}[{index}].jsonPath", text(entry, "jsonPath")
        if not where:
            errors.append(field_errors.required(place))
            continue
        try:
            names = paths.simple_names(where)
        except paths.BadPathError:
            detail = "is an invalid path: must be a simple json path in dot notation"
            errors.append(field_errors.invalid(place, where, detail))
            continue
        errors += _check_selected(place, where, names, schema)
        if where in seen:
            errors.append(field_errors.duplicate(place, where))
        seen.add(where)
    return errors


def _check_selected(place: str, where: str, names: Sequence[str], schema: Object) -> Errors:
    if names[0] == "metadata":
        return [field_errors.invalid(place, where, "must not point to fields in metadata")]
    part: Any = schema
    for name in names:
        part = mapping(part, "properties").get(name)
        if not isinstance(part, dict):
            return [field_errors.invalid(place, where, f"is an invalid path: does not refer to a valid field: {name}")]
    if part.get("type") not in ("boolean", "integer", "string"):
        detail = (
            "must point to a field of type string, boolean or integer. "
            "Enum string fields and strings with formats are allowed."
        )
        return [field_errors.invalid(place, where, detail)]
    return []


def validate_bundle_update(new: Object, old: Object) -> Errors:
    """A definition may come with a caBundle that is none, for others to fill in; once served it may not get one."""
    conditions = listed(mapping(old, "status"), "conditions")
    if not any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
        return []
    path = "spec.conversion.webhookClientConfig"
    before, after = (
        mapping(mapping(mapping(mapping(one, "spec"), "conversion"), "webhook"), "clientConfig") for one in (old, new)
    )
    return [] if validate_bundle(path, before) else validate_bundle(path, after)


def _check_conversion(conversion: Object, versions: Sequence[Object]) -> Errors:
    strategy = text(conversion, "strategy")
    errors = one_of("spec.conversion.strategy", strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook")
    if strategy == "Webhook":
        client = mapping(webhook, "clientConfig") if isinstance(webhook, dict) else {}
        if not client:
            detail = "required when strategy is set to Webhook"
            errors.append(field_errors.required("spec.conversion.webhookClientConfig", detail))
        else:
            errors += validate_client("spec.conversion.webhookClientConfig", client)
        given = review_versions(webhook or {}, "conversionReviewVersions")
        errors += validate_review_versions("spec.conversion.conversionReviewVersions", given, "")
    elif webhook is not None:
        detail = "should not be set when strategy is not set to Webhook"
        errors.append(field_errors.forbidden("spec.conversion.webhookClientConfig", detail))
    return errors
