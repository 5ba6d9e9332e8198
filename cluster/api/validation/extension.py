"""
Validation of what extends the apiserver: webhooks, API services, custom resource definitions.

Source: k8s.io/kubernetes, pkg/apis/admissionregistration/validation; k8s.io/apiextensions-apiserver,
pkg/apis/apiextensions/validation; k8s.io/kube-aggregator, pkg/apis/apiregistration/validation.
"""

from collections.abc import Sequence

from cluster.api.validation import definitions
from cluster.api.validation.admission_rules import validate_rule
from cluster.api.validation.expressions import validate_match_conditions
from cluster.api.validation.rules import Errors, immutable, listed, mapping, named, one_of, required_name, text
from cluster.api.validation.selectors import validate_selector
from cluster.api.validation.webhook_clients import review_versions, validate_client, validate_review_versions
from cluster.machinery import field_errors, names
from cluster.machinery.objects import Object


def validate_webhooks(configuration: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, webhook in enumerate(listed(configuration, "webhooks")):
        path, name = f"webhooks[{index}]", text(webhook, "name")
        errors += _check_webhook(path, webhook)
        if name in seen:
            errors.append(field_errors.duplicate(f"{path}.name", name))
        seen.add(name)
    return errors


def _check_webhook(path: str, webhook: Object) -> Errors:
    errors = qualified_domain(f"{path}.name", text(webhook, "name"))
    for index, rule in enumerate(listed(webhook, "rules")):
        errors += validate_rule(f"{path}.rules[{index}]", rule)
    if (policy := webhook.get("failurePolicy")) is not None:
        errors += one_of(f"{path}.failurePolicy", policy, ("Fail", "Ignore"))
    if (policy := webhook.get("matchPolicy")) is not None:
        errors += one_of(f"{path}.matchPolicy", policy, ("Equivalent", "Exact"))
    effects = webhook.get("sideEffects")
    supported = ("None", "NoneOnDryRun")
    if effects is None:
        detail = "must specify one of None, NoneOnDryRun"
        errors.append(field_errors.required(f"{path}.sideEffects", detail))
    else:
        errors += one_of(f"{path}.sideEffects", effects, supported)
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        errors.append(field_errors.invalid(f"{path}.timeoutSeconds", seconds, detail))
    for key in ("namespaceSelector", "objectSelector"):
        errors += validate_selector(f"{path}.{key}", webhook.get(key))
    errors += validate_client(f"{path}.clientConfig", mapping(webhook, "clientConfig"))
    versions = review_versions(webhook, "admissionReviewVersions")
    errors += validate_review_versions(f"{path}.admissionReviewVersions", versions, "must specify one of v1, v1beta1")
    if (policy := webhook.get("reinvocationPolicy")) is not None:
        errors += one_of(f"{path}.reinvocationPolicy", policy, ("IfNeeded", "Never"))
    return errors + validate_match_conditions(f"{path}.matchConditions", webhook)


def qualified_domain(path: str, name: str) -> Errors:
    """A name of at least three parts, the domain of its owner."""
    if not name:
        return [field_errors.required(path)]
    if faults := names.dns_subdomain(name):
        return [field_errors.invalid(path, name, fault) for fault in faults]
    if len(name.split(".")) < 3:
        detail = "should be a domain with at least three segments separated by dots"
        return [field_errors.invalid(path, name, detail)]
    return []


def validate_api_service(api_service: Object) -> Errors:
    spec, name = mapping(api_service, "spec"), text(mapping(api_service, "metadata"), "name")
    group, version = text(spec, "group"), text(spec, "version")
    errors: Errors = []
    expected = f"{version}.{group}"
    if name != expected and not (not group and name == f"{version}."):
        detail = f'must be `spec.version+"."+spec.group`: "{expected}"'
        errors.append(field_errors.invalid("metadata.name", name, detail))
    if group:
        errors += named("spec.group", group, names.dns_subdomain)
    elif version != "v1":
        detail = "only v1 may have an empty group and it better be legacy kube"
        errors.append(field_errors.required("spec.group", detail))
    errors += named("spec.version", version, names.dns_1035_label)
    for key, limit in (("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)):
        priority = spec.get(key) or 0
        if not 0 < priority <= limit:
            detail = f"must be positive and less than {limit}"
            errors.append(field_errors.invalid(f"spec.{key}", priority, detail))
    service = spec.get("service")
    if service is None:
        return errors + _validate_local_api_service(spec)
    errors += [field_errors.required(f"spec.service.{key}") for key in ("namespace", "name") if not text(service, key)]
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        detail = "may not be true if caBundle is present"
        errors.append(field_errors.invalid("spec.insecureSkipTLSVerify", True, detail))
    return errors


def _validate_local_api_service(spec: Object) -> Errors:
    errors: Errors = []
    if bundle := text(spec, "caBundle"):
        size = len(bundle) * 3 // 4 - bundle.count("=", -2)
        detail = "local APIServices may not have a caBundle"
        errors.append(field_errors.invalid("spec.caBundle", f"{size} bytes", detail))
    if spec.get("insecureSkipTLSVerify"):
        detail = "local APIServices may not have insecureSkipTLSVerify"
        errors.append(field_errors.invalid("spec.insecureSkipTLSVerify", True, detail))
    return errors


def validate_custom_resource_definition(definition: Object) -> Errors:
    """Names and versions. What the schemas may contain is the business of the engine that runs them."""
    spec, metadata = mapping(definition, "spec"), mapping(definition, "metadata")
    names_wanted = mapping(spec, "names")
    expected = f"{text(names_wanted, 'plural')}.{text(spec, 'group')}"
    errors: Errors = []
    if text(metadata, "name") != expected:
        detail = 'must be spec.names.plural+"."+spec.group'
        errors.append(field_errors.invalid("metadata.name", text(metadata, "name"), detail))
    errors += _check_group("spec.group", text(spec, "group"))
    scope = text(spec, "scope")
    errors += one_of("spec.scope", scope, ("Cluster", "Namespaced")) if scope else [field_errors.required("spec.scope")]
    errors += _check_versions(listed(spec, "versions"))
    errors += _check_names("spec.names", names_wanted)
    if not listed(mapping(definition, "status"), "storedVersions") and not _storage_versions(spec):
        value, detail = mapping(definition, "status").get("storedVersions"), "must have at least one stored version"
        errors.append(field_errors.invalid("status.storedVersions", value, detail))
    return errors + definitions.validate_versions(definition)


def validate_custom_resource_definition_create(definition: Object) -> Errors:
    return validate_custom_resource_definition(definition) + definitions.validate_approval(definition)


def _storage_versions(spec: Object) -> list[str]:
    """What will be stored; a new definition's status need not say so yet."""
    return [text(version, "name") for version in listed(spec, "versions") if version.get("storage")]


def _check_group(path: str, group: str) -> Errors:
    if not group:
        return [field_errors.required(path)]
    if "." not in group:
        return [field_errors.invalid(path, group, "should be a domain with at least one dot")]
    return named(path, group, names.dns_subdomain)


def _check_versions(versions: Sequence[Object]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        path, name = f"spec.versions[{index}]", text(version, "name")
        errors += named(f"{path}.name", name, names.dns_1035_label)
        seen.add(name)
        if not mapping(version, "schema").get("openAPIV3Schema"):
            detail = "schemas are required"
            errors.append(field_errors.required(f"{path}.schema.openAPIV3Schema", detail))
    if len(seen) != len(versions):
        detail = "must contain unique version names"
        errors.append(field_errors.invalid("spec.versions", list(versions), detail))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(field_errors.invalid("spec.versions", list(versions), detail))
    return errors


def _check_names(path: str, wanted: Object) -> Errors:
    errors: Errors = []
    for key in ("plural", "singular"):
        value = text(wanted, key)
        errors += required_name(f"{path}.{key}", value, names.dns_1035_label)
    for key in ("kind", "listKind"):
        value = text(wanted, key)
        if not value:
            errors.append(field_errors.required(f"{path}.{key}"))
            continue
        detail = "may have mixed case, but should otherwise match: "
        errors += [field_errors.invalid(f"{path}.{key}", value, detail + fault)
                   for fault in names.dns_1035_label(value.lower())]  # fmt: skip
    if text(wanted, "kind") and text(wanted, "kind") == text(wanted, "listKind"):
        detail = "kind and listKind may not be the same"
        errors.append(field_errors.invalid(f"{path}.listKind", text(wanted, "listKind"), detail))
    for key in ("shortNames", "categories"):
        for index, value in enumerate(listed(wanted, key)):
            errors += named(f"{path}.{key}[{index}]", value, names.dns_1035_label)
    return errors


def validate_custom_resource_definition_update(new: Object, old: Object) -> Errors:
    errors = validate_custom_resource_definition(new) + definitions.validate_bundle_update(new, old)
    present = {text(version, "name") for version in listed(mapping(new, "spec"), "versions")}
    for index, name in enumerate(listed(mapping(new, "status"), "storedVersions")):
        if name not in present:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            errors.append(field_errors.invalid(f"status.storedVersions[{index}]", name, detail))
    for key in ("group", "scope"):
        errors += immutable(f"spec.{key}", mapping(new, "spec").get(key), mapping(old, "spec").get(key))
    for key in ("plural", "kind"):
        after, before = (mapping(mapping(obj, "spec"), "names").get(key) for obj in (new, old))
        errors += immutable(f"spec.names.{key}", after, before)
    return errors
