"""Defaults of what extends the apiserver: webhooks, admission policies, custom resource definitions."""

from cluster.api.defaults.filling import child, fill, fill_pointer, items, mappings
from cluster.machinery.objects import Object

HTTPS_PORT = 443
WEBHOOK_TIMEOUT_SECONDS = 10


def default_validating_webhooks(configuration: Object) -> None:
    for webhook in items(configuration, "webhooks"):
        _default_webhook(webhook)


def default_mutating_webhooks(configuration: Object) -> None:
    for webhook in items(configuration, "webhooks"):
        _default_webhook(webhook)
        fill_pointer(webhook, "reinvocationPolicy", "Never")


def _default_webhook(webhook: Object) -> None:
    fill_pointer(webhook, "failurePolicy", "Fail")
    fill_pointer(webhook, "matchPolicy", "Equivalent")
    fill_pointer(webhook, "namespaceSelector", {})
    fill_pointer(webhook, "objectSelector", {})
    fill_pointer(webhook, "timeoutSeconds", WEBHOOK_TIMEOUT_SECONDS)
    for service in mappings(child(webhook, "clientConfig"), "service"):
        fill_pointer(service, "port", HTTPS_PORT)
    for rule in items(webhook, "rules"):
        fill_pointer(rule, "scope", "*")
    for key in ("sideEffects", "admissionReviewVersions"):
        webhook.setdefault(key, None)


def default_admission_policy(policy: Object) -> None:
    """Validating and mutating policies alike."""
    spec = child(policy, "spec")
    fill_pointer(spec, "failurePolicy", "Fail")
    for resources in mappings(spec, "matchConstraints"):
        _default_match_resources(resources)
    if policy.get("kind") == "ValidatingAdmissionPolicy":
        child(policy, "status")


def default_admission_binding(binding: Object) -> None:
    for resources in mappings(child(binding, "spec"), "matchResources"):
        _default_match_resources(resources)


def _default_match_resources(resources: Object) -> None:
    fill_pointer(resources, "matchPolicy", "Equivalent")
    fill_pointer(resources, "namespaceSelector", {})
    fill_pointer(resources, "objectSelector", {})
    for key in ("resourceRules", "excludeResourceRules"):
        for rule in items(resources, key):
            fill_pointer(rule, "scope", "*")


def default_custom_resource_definition(definition: Object) -> None:
    spec = child(definition, "spec")
    names = child(spec, "names")
    kind = names.get("kind") or ""
    if kind:
        fill(names, "singular", kind.lower())
        fill(names, "listKind", f"{kind}List")
    conversion = spec.get("conversion")
    if conversion is None:
        spec["conversion"] = conversion = {"strategy": "None"}
    for webhook in mappings(conversion, "webhook"):
        for client in mappings(webhook, "clientConfig"):
            for service in mappings(client, "service"):
                fill_pointer(service, "port", HTTPS_PORT)
    status = child(definition, "status")
    status.setdefault("conditions", None)
    accepted = child(status, "acceptedNames")
    fill_pointer(accepted, "plural", "")
    fill_pointer(accepted, "kind", "")
    status.setdefault("storedVersions", None)
