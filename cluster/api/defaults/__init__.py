"""
What the apiserver fills in where a client said nothing.

`apply_defaults` runs on every decoded object, on those from the store as well, so it must be idempotent. It also writes
the structs that upstream always writes although they are empty (`status: {}`, `resources: {}`).
Source: the SetDefaults functions of k8s.io/kubernetes, pkg/apis/*/v1/defaults.go.
"""

from collections.abc import Callable, Mapping

from cluster.api.defaults import autoscaling, core, extension, flow_control, networking, policy, storage, workloads
from cluster.api.defaults.claims import default_claim
from cluster.api.defaults.pod import default_pod, default_pod_template
from cluster.api.resources import Resource
from cluster.machinery.objects import Object


def apply_defaults(resource: Resource, obj: Object) -> None:
    """Completes `obj` in place. `obj` has the shape its schema wants; kinds without defaults stay as they are."""
    default = _BY_KIND.get((resource.group, resource.version, resource.kind))
    if default is not None:
        default(obj)


def _pod_template(obj: Object) -> None:
    template = obj.setdefault("template", {})
    default_pod_template(template)


_CORE: Mapping[str, Callable[[Object], None]] = {
    "Pod": default_pod,
    "PodTemplate": _pod_template,
    "ReplicationController": workloads.default_replication_controller,
    "Service": core.default_service,
    "Endpoints": core.default_endpoints,
    "Namespace": core.default_namespace,
    "Node": core.default_node,
    "Secret": core.default_secret,
    "Event": core.default_event,
    "LimitRange": core.default_limit_range,
    "ResourceQuota": core.default_resource_quota,
    "PersistentVolume": core.default_persistent_volume,
    "PersistentVolumeClaim": default_claim,
}

_BY_KIND: Mapping[tuple[str, str, str], Callable[[Object], None]] = {
    **{("", "v1", kind): default for kind, default in _CORE.items()},
    ("events.k8s.io", "v1", "Event"): core.default_new_event,
    ("authentication.k8s.io", "v1", "TokenRequest"): core.default_token_request,
    ("apps", "v1", "Deployment"): workloads.default_deployment,
    ("apps", "v1", "ReplicaSet"): workloads.default_replica_set,
    ("apps", "v1", "StatefulSet"): workloads.default_stateful_set,
    ("apps", "v1", "DaemonSet"): workloads.default_daemon_set,
    ("batch", "v1", "Job"): workloads.default_job,
    ("batch", "v1", "CronJob"): workloads.default_cron_job,
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): autoscaling.default_autoscaler_v1,
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): autoscaling.default_autoscaler_v2,
    ("networking.k8s.io", "v1", "Ingress"): networking.default_ingress,
    ("networking.k8s.io", "v1", "IngressClass"): networking.default_ingress_class,
    ("networking.k8s.io", "v1", "NetworkPolicy"): networking.default_network_policy,
    ("networking.k8s.io", "v1", "ServiceCIDR"): networking.default_service_cidr,
    ("discovery.k8s.io", "v1", "EndpointSlice"): networking.default_endpoint_slice,
    ("policy", "v1", "PodDisruptionBudget"): policy.default_disruption_budget,
    ("rbac.authorization.k8s.io", "v1", "Role"): policy.default_role,
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"): policy.default_role,
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"): policy.default_role_binding,
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): policy.default_role_binding,
    ("scheduling.k8s.io", "v1", "PriorityClass"): policy.default_priority_class,
    ("certificates.k8s.io", "v1", "CertificateSigningRequest"): policy.default_signing_request,
    ("apiregistration.k8s.io", "v1", "APIService"): policy.default_api_service,
    ("resource.k8s.io", "v1", "ResourceClaim"): policy.default_resource_claim,
    ("resource.k8s.io", "v1", "ResourceClaimTemplate"): policy.default_resource_claim_template,
    ("resource.k8s.io", "v1", "DeviceClass"): policy.default_device_class,
    ("storage.k8s.io", "v1", "StorageClass"): storage.default_storage_class,
    ("storage.k8s.io", "v1", "VolumeAttachment"): storage.default_volume_attachment,
    ("storage.k8s.io", "v1", "CSIDriver"): storage.default_csi_driver,
    ("storage.k8s.io", "v1", "CSINode"): storage.default_csi_node,
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"): extension.default_validating_webhooks,
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"): extension.default_mutating_webhooks,
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"): extension.default_admission_policy,
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"): extension.default_admission_policy,
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"): extension.default_admission_binding,
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"): extension.default_admission_binding,
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): extension.default_custom_resource_definition,
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"): flow_control.default_flow_schema,
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"): flow_control.default_priority_level,
}
