"""
What `kubectl get` prints: the columns of a resource's table and one object's cells.

Cells of every column, those of `-o wide` (priority 1) included; the client chooses.
Source of the logic: k8s.io/kubernetes, pkg/printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cluster.api.custom_resource import CustomResource
from cluster.api.printers import access, cluster_objects, custom, network, storage, workloads
from cluster.api.printers.columns import columns as built_in_columns
from cluster.api.printers.pods import pod_cells
from cluster.api.resources import Resource
from cluster.machinery.objects import Object

__all__ = ["cells", "columns"]


def cells(resource: Resource, obj: Object, now: datetime) -> list[Any]:
    """One row, in the order of `columns(resource)`. `now` is aware; ages are counted up to it."""
    if isinstance(resource, CustomResource):
        return custom.cells(resource, obj, now)
    render = _ROWS.get((resource.group, resource.version, resource.plural), cluster_objects.created_cells)
    return render(obj, now)


def columns(resource: Resource) -> list[Object]:
    """TableColumnDefinitions. The mappings are shared: do not change them."""
    return custom.columns(resource) if isinstance(resource, CustomResource) else built_in_columns(resource)


_Row = Callable[[Object, datetime], list[Any]]

_CORE: Mapping[str, _Row] = {
    "pods": pod_cells,
    "podtemplates": workloads.pod_template_cells,
    "replicationcontrollers": workloads.replication_controller_cells,
    "nodes": cluster_objects.node_cells,
    "namespaces": cluster_objects.namespace_cells,
    "events": cluster_objects.event_cells,
    "componentstatuses": cluster_objects.component_status_cells,
    "resourcequotas": cluster_objects.resource_quota_cells,
    "serviceaccounts": cluster_objects.aged_cells,
    "services": network.service_cells,
    "endpoints": network.endpoints_cells,
    "configmaps": storage.config_map_cells,
    "secrets": storage.secret_cells,
    "persistentvolumes": storage.volume_cells,
    "persistentvolumeclaims": storage.claim_cells,
}
_GROUPS: Mapping[str, Mapping[str, _Row]] = {
    "": _CORE,
    "apps": {
        "deployments": workloads.deployment_cells,
        "replicasets": workloads.replica_set_cells,
        "statefulsets": workloads.stateful_set_cells,
        "daemonsets": workloads.daemon_set_cells,
        "controllerrevisions": workloads.controller_revision_cells,
    },
    "batch": {"jobs": workloads.job_cells, "cronjobs": workloads.cron_job_cells},
    "policy": {"poddisruptionbudgets": workloads.disruption_budget_cells},
    "certificates.k8s.io": {"certificatesigningrequests": workloads.signing_request_cells},
    "events.k8s.io": {"events": cluster_objects.event_cells},
    "apiregistration.k8s.io": {"apiservices": cluster_objects.api_service_cells},
    "coordination.k8s.io": {"leases": cluster_objects.lease_cells},
    "node.k8s.io": {"runtimeclasses": cluster_objects.runtime_class_cells},
    "scheduling.k8s.io": {"priorityclasses": cluster_objects.priority_class_cells},
    "flowcontrol.apiserver.k8s.io": {
        "flowschemas": cluster_objects.flow_schema_cells,
        "prioritylevelconfigurations": cluster_objects.priority_level_cells,
    },
    "networking.k8s.io": {
        "ingresses": network.ingress_cells,
        "ingressclasses": network.ingress_class_cells,
        "networkpolicies": network.network_policy_cells,
        "servicecidrs": network.service_cidr_cells,
        "ipaddresses": network.ip_address_cells,
    },
    "discovery.k8s.io": {"endpointslices": network.endpoint_slice_cells},
    "rbac.authorization.k8s.io": {
        "rolebindings": access.role_binding_cells,
        "clusterrolebindings": access.role_binding_cells,
    },
    "storage.k8s.io": {
        "storageclasses": storage.storage_class_cells,
        "volumeattachments": storage.volume_attachment_cells,
        "volumeattributesclasses": storage.attributes_class_cells,
        "csidrivers": storage.csi_driver_cells,
        "csinodes": storage.csi_node_cells,
    },
    "admissionregistration.k8s.io": {
        "validatingwebhookconfigurations": access.webhooks_cells,
        "mutatingwebhookconfigurations": access.webhooks_cells,
        "validatingadmissionpolicies": access.validating_policy_cells,
        "mutatingadmissionpolicies": access.mutating_policy_cells,
        "validatingadmissionpolicybindings": access.policy_binding_cells,
        "mutatingadmissionpolicybindings": access.policy_binding_cells,
    },
    "resource.k8s.io": {
        "deviceclasses": cluster_objects.aged_cells,
        "resourceclaims": access.resource_claim_cells,
        "resourceclaimtemplates": cluster_objects.aged_cells,
        "resourceslices": access.resource_slice_cells,
    },
}
_ROWS: Mapping[tuple[str, str, str], _Row] = {
    **{(group, "v1", plural): row for group, rows in _GROUPS.items() for plural, row in rows.items()},
    ("autoscaling", "v1", "horizontalpodautoscalers"): workloads.autoscaler_v1_cells,
    ("autoscaling", "v2", "horizontalpodautoscalers"): workloads.autoscaler_v2_cells,
}
