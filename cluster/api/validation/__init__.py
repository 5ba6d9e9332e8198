"""
Which objects the apiserver refuses, and in which words.

`validate_create` and `validate_update` see objects with defaults applied and with what the registry's strategies set
(a Job's generated selector, a CRD's stored versions). Order, texts and values are upstream's: people and tests compare
them. Source: k8s.io/kubernetes, pkg/apis/*/validation.
"""

from collections.abc import Callable, Mapping

from cluster.api.resources import Resource
from cluster.api.validation import (
    access,
    admission_policies,
    autoscaling,
    batch,
    control,
    core_objects,
    csi,
    dynamic_resources,
    extension,
    networking,
    persistent_volumes,
    pods,
    services,
    workloads,
)
from cluster.api.validation.metadata import validate_metadata, validate_metadata_update
from cluster.api.validation.pod_spec import validate_template
from cluster.api.validation.rules import mapping, not_negative
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object

_Check = Callable[[Object], list[FieldError]]
_UpdateCheck = Callable[[Object, Object], list[FieldError]]


def validate_create(resource: Resource, obj: Object) -> list[FieldError]:
    """Faults of a new object; none when it may be stored."""
    errors = validate_metadata(resource, mapping(obj, "metadata"))
    key = (resource.group, resource.kind)
    check = _ONLY_NEW.get(key) or _CREATE.get(key)
    return errors + (check(obj) if check else [])


def validate_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> list[FieldError]:
    """
    Faults of the new state of an object: what may not change, and what may never be.

    `subresource` names the door the write came through: some let other fields change than the object itself does.
    """
    errors = _metadata_update(new, old)
    key = (resource.group, resource.kind)
    update = _SUBRESOURCE_UPDATE.get((*key, subresource)) or _UPDATE.get(key)
    if update is not None:
        return errors + update(new, old)
    check = _CREATE.get(key)
    return errors + (check(new) if check else [])


def validate_status_update(resource: Resource, new: Object, old: Object) -> list[FieldError]:
    """Faults of a write to /status: metadata and counts, since the spec is kept as it is."""
    errors = _metadata_update(new, old)
    if resource.group in ("apps", "batch", "") and resource.kind in _COUNTED_STATUS:
        status = mapping(new, "status")
        errors += [
            error
            for field in _COUNTED_STATUS[resource.kind]
            for error in not_negative(f"status.{field}", status.get(field))
        ]
    return errors


def _metadata_update(new: Object, old: Object) -> list[FieldError]:
    """Upstream looks at metadata twice, once for all kinds and once for this one, and clients see both as causes."""
    after, before = mapping(new, "metadata"), mapping(old, "metadata")
    return validate_metadata_update(after, before) + validate_metadata_update(after, before, kind_rules=True)


def _pod_template(obj: Object) -> list[FieldError]:
    return validate_template("template", mapping(obj, "template"))


_COUNTED_STATUS: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
                   "unavailableReplicas"),
    "ReplicaSet": ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"),
    "ReplicationController": ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas",
                              "observedGeneration"),
    "StatefulSet": ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"),
    "DaemonSet": ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
                  "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
    "Job": ("active", "succeeded", "failed"),
}  # fmt: skip

_RBAC, _ADMISSION, _APPS = "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apps"
_NETWORK, _STORAGE, _FLOW = "networking.k8s.io", "storage.k8s.io", "flowcontrol.apiserver.k8s.io"
_RESOURCE = "resource.k8s.io"

_CREATE: Mapping[tuple[str, str], _Check] = {
    ("", "Pod"): pods.validate_pod,
    ("", "PodTemplate"): _pod_template,
    ("", "ReplicationController"): workloads.validate_replication_controller,
    ("", "Service"): services.validate_service,
    ("", "Endpoints"): services.validate_endpoints,
    ("", "ConfigMap"): core_objects.validate_config_map,
    ("", "Secret"): core_objects.validate_secret,
    ("", "Namespace"): core_objects.validate_namespace,
    ("", "Node"): core_objects.validate_node,
    ("", "ResourceQuota"): core_objects.validate_quota,
    ("", "LimitRange"): core_objects.validate_limit_range,
    ("", "Binding"): core_objects.validate_binding,
    ("", "Event"): core_objects.validate_event,
    ("events.k8s.io", "Event"): core_objects.validate_event,
    ("", "PersistentVolume"): persistent_volumes.validate_volume,
    ("", "PersistentVolumeClaim"): persistent_volumes.validate_claim,
    (_APPS, "Deployment"): workloads.validate_deployment,
    (_APPS, "ReplicaSet"): workloads.validate_replica_set,
    (_APPS, "StatefulSet"): workloads.validate_stateful_set,
    (_APPS, "DaemonSet"): workloads.validate_daemon_set,
    (_APPS, "ControllerRevision"): workloads.validate_controller_revision,
    ("batch", "Job"): batch.validate_job,
    ("batch", "CronJob"): batch.validate_cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling.validate_autoscaler,
    ("policy", "PodDisruptionBudget"): autoscaling.validate_disruption_budget,
    ("scheduling.k8s.io", "PriorityClass"): autoscaling.validate_priority_class,
    ("node.k8s.io", "RuntimeClass"): autoscaling.validate_runtime_class,
    ("coordination.k8s.io", "Lease"): control.validate_lease,
    ("certificates.k8s.io", "CertificateSigningRequest"): control.validate_signing_request,
    ("discovery.k8s.io", "EndpointSlice"): services.validate_endpoint_slice,
    ("apiregistration.k8s.io", "APIService"): extension.validate_api_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): extension.validate_custom_resource_definition,
    (_NETWORK, "Ingress"): networking.validate_ingress,
    (_NETWORK, "IngressClass"): networking.validate_ingress_class,
    (_NETWORK, "NetworkPolicy"): networking.validate_network_policy,
    (_NETWORK, "ServiceCIDR"): networking.validate_service_cidr,
    (_NETWORK, "IPAddress"): networking.validate_ip_address,
    (_RBAC, "Role"): access.validate_role,
    (_RBAC, "ClusterRole"): access.validate_cluster_role,
    (_RBAC, "RoleBinding"): access.validate_role_binding,
    (_RBAC, "ClusterRoleBinding"): access.validate_cluster_role_binding,
    (_STORAGE, "StorageClass"): persistent_volumes.validate_storage_class,
    (_STORAGE, "VolumeAttachment"): persistent_volumes.validate_volume_attachment,
    (_STORAGE, "CSIDriver"): csi.validate_driver,
    (_STORAGE, "CSINode"): csi.validate_node,
    (_STORAGE, "CSIStorageCapacity"): csi.validate_capacity,
    (_STORAGE, "VolumeAttributesClass"): csi.validate_attributes_class,
    (_RESOURCE, "ResourceClaim"): dynamic_resources.validate_claim,
    (_RESOURCE, "ResourceClaimTemplate"): dynamic_resources.validate_claim_template,
    (_RESOURCE, "DeviceClass"): dynamic_resources.validate_device_class,
    (_RESOURCE, "ResourceSlice"): dynamic_resources.validate_slice,
    (_ADMISSION, "ValidatingWebhookConfiguration"): extension.validate_webhooks,
    (_ADMISSION, "MutatingWebhookConfiguration"): extension.validate_webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): admission_policies.validate_admission_policy,
    (_ADMISSION, "MutatingAdmissionPolicy"): admission_policies.validate_admission_policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): admission_policies.validate_admission_binding,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): admission_policies.validate_admission_binding,
    (_FLOW, "FlowSchema"): control.validate_flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): control.validate_priority_level,
}

_ONLY_NEW: Mapping[tuple[str, str], _Check] = {
    ("batch", "CronJob"): batch.validate_cron_job_create,
    (_NETWORK, "Ingress"): networking.validate_ingress_create,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): extension.validate_custom_resource_definition_create,
}
"""Rules that only a new object must obey, beside those of `_CREATE`."""

_UPDATE: Mapping[tuple[str, str], _UpdateCheck] = {
    ("", "Pod"): pods.validate_pod_update,
    ("", "Service"): services.validate_service_update,
    ("", "ConfigMap"): core_objects.validate_config_map_update,
    ("", "Secret"): core_objects.validate_secret_update,
    ("", "Node"): core_objects.validate_node_update,
    ("", "ResourceQuota"): core_objects.validate_quota_update,
    ("", "PersistentVolume"): persistent_volumes.validate_volume_update,
    ("", "PersistentVolumeClaim"): persistent_volumes.validate_claim_update,
    (_APPS, "Deployment"): workloads.validate_deployment_update,
    (_APPS, "ReplicaSet"): workloads.validate_replica_set_update,
    (_APPS, "StatefulSet"): workloads.validate_stateful_set_update,
    (_APPS, "DaemonSet"): workloads.validate_daemon_set_update,
    (_APPS, "ControllerRevision"): workloads.validate_controller_revision_update,
    ("batch", "Job"): batch.validate_job_update,
    ("scheduling.k8s.io", "PriorityClass"): autoscaling.validate_priority_class_update,
    ("node.k8s.io", "RuntimeClass"): autoscaling.validate_runtime_class_update,
    ("certificates.k8s.io", "CertificateSigningRequest"): control.validate_signing_request_update,
    ("discovery.k8s.io", "EndpointSlice"): services.validate_endpoint_slice_update,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): extension.validate_custom_resource_definition_update,
    (_NETWORK, "IngressClass"): networking.validate_ingress_class_update,
    (_NETWORK, "ServiceCIDR"): networking.validate_service_cidr_update,
    (_NETWORK, "IPAddress"): networking.validate_ip_address_update,
    (_RBAC, "RoleBinding"): access.validate_role_binding_update,
    (_RBAC, "ClusterRoleBinding"): access.validate_cluster_role_binding_update,
    (_STORAGE, "StorageClass"): persistent_volumes.validate_storage_class_update,
    (_STORAGE, "VolumeAttachment"): persistent_volumes.validate_volume_attachment_update,
    (_STORAGE, "CSIDriver"): csi.validate_driver_update,
    (_STORAGE, "CSINode"): csi.validate_node_update,
    (_STORAGE, "CSIStorageCapacity"): csi.validate_capacity_update,
    (_STORAGE, "VolumeAttributesClass"): csi.validate_attributes_class_update,
    (_RESOURCE, "ResourceClaim"): control.validate_immutable_spec,
    (_RESOURCE, "ResourceClaimTemplate"): control.validate_immutable_spec,
    (_RESOURCE, "ResourceSlice"): dynamic_resources.validate_slice_update,
}

_SUBRESOURCE_UPDATE: Mapping[tuple[str, str, str], _UpdateCheck] = {
    ("", "Pod", "ephemeralcontainers"): pods.validate_ephemeral_update,
    ("", "Pod", "resize"): pods.validate_resize,
    ("", "Pod", "binding"): pods.validate_bound,
}
