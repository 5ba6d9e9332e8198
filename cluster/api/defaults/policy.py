"""Defaults of small groups: policy, rbac, scheduling, certificates, apiregistration, resource.k8s.io."""

from cluster.api.defaults.filling import child, fill, fill_pointer, items, mappings
from cluster.machinery.objects import Object

RBAC_GROUP = "rbac.authorization.k8s.io"


def default_disruption_budget(budget: Object) -> None:
    child(budget, "spec")
    status = child(budget, "status")
    for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        fill_pointer(status, key, 0)


def default_role(role: Object) -> None:
    role.setdefault("rules", None)


def default_role_binding(binding: Object) -> None:
    """Who is bound and to what are of the RBAC group; service accounts are of the core group."""
    fill(child(binding, "roleRef"), "apiGroup", RBAC_GROUP)
    for subject in items(binding, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, "apiGroup", RBAC_GROUP)


def default_priority_class(priority_class: Object) -> None:
    fill_pointer(priority_class, "preemptionPolicy", "PreemptLowerPriority")
    fill_pointer(priority_class, "value", 0)


def default_signing_request(request: Object) -> None:
    child(request, "spec")
    child(request, "status")


def default_api_service(api_service: Object) -> None:
    spec = child(api_service, "spec")
    for service in mappings(spec, "service"):
        fill_pointer(service, "port", 443)
    child(api_service, "status")


def default_resource_claim(claim: Object) -> None:
    default_resource_claim_spec(child(claim, "spec"))
    child(claim, "status")


def default_resource_claim_template(template: Object) -> None:
    spec = child(template, "spec")
    child(spec, "metadata")
    default_resource_claim_spec(child(spec, "spec"))


def default_resource_claim_spec(spec: Object) -> None:
    devices = child(spec, "devices")
    for request in items(devices, "requests"):
        for choice in [*mappings(request, "exactly"), *items(request, "firstAvailable")]:
            fill(choice, "allocationMode", "ExactCount")
            if choice["allocationMode"] == "ExactCount" and not choice.get("count"):
                choice["count"] = 1
            for toleration in items(choice, "tolerations"):
                fill(toleration, "operator", "Equal")


def default_device_class(device_class: Object) -> None:
    child(device_class, "spec")
