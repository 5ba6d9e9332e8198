"""
Every controller, by upstream's name, and which of them `--controllers` chooses.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from cluster.controller_manager.certificate_signing import CertificateSigningController
from cluster.controller_manager.cluster_role_aggregation import ClusterRoleAggregationController
from cluster.controller_manager.context import Context, ManagerSettings
from cluster.controller_manager.cron_job import CronJobController
from cluster.controller_manager.daemon_set import DaemonSetController
from cluster.controller_manager.deployment import DeploymentController
from cluster.controller_manager.disruption import DisruptionController
from cluster.controller_manager.endpoint_slice import EndpointSliceController
from cluster.controller_manager.endpoints import EndpointsController
from cluster.controller_manager.garbage_collector import GarbageCollector
from cluster.controller_manager.job import JobController
from cluster.controller_manager.namespace import NamespaceController
from cluster.controller_manager.node_ipam import NodeIpamController
from cluster.controller_manager.node_lifecycle import NodeLifecycleController
from cluster.controller_manager.pod_garbage_collector import PodGarbageCollector
from cluster.controller_manager.replica_set import replica_set_controller, replication_controller
from cluster.controller_manager.resource_quota import ResourceQuotaController
from cluster.controller_manager.root_ca_publisher import RootCaPublisher
from cluster.controller_manager.service_account import ServiceAccountController
from cluster.controller_manager.stateful_set import StatefulSetController
from cluster.controller_manager.taint_eviction import TaintEvictionController


class Runnable(Protocol):
    async def run(self) -> None:
        """Work until cancelled; the informers have synced."""


Make = Callable[[Context], Runnable]

CONTROLLERS: Mapping[str, Make] = {
    "serviceaccount-controller": ServiceAccountController,
    "root-ca-certificate-publisher-controller": RootCaPublisher,
    "namespace-controller": NamespaceController,
    "node-ipam-controller": NodeIpamController,
    "node-lifecycle-controller": NodeLifecycleController,
    "taint-eviction-controller": TaintEvictionController,
    "replicaset-controller": replica_set_controller,
    "replicationcontroller-controller": replication_controller,
    "deployment-controller": DeploymentController,
    "daemonset-controller": DaemonSetController,
    "statefulset-controller": StatefulSetController,
    "job-controller": JobController,
    "cronjob-controller": CronJobController,
    "disruption-controller": DisruptionController,
    "resourcequota-controller": ResourceQuotaController,
    "endpoints-controller": EndpointsController,
    "endpointslice-controller": EndpointSliceController,
    "garbage-collector-controller": GarbageCollector,
    "pod-garbage-collector-controller": PodGarbageCollector,
    "clusterrole-aggregation-controller": ClusterRoleAggregationController,
    "certificatesigningrequest-signing-controller": CertificateSigningController,
}

# Names from before 1.28 that units still carry.
ALIASES: Mapping[str, str] = {
    name.removesuffix("-controller"): name for name in CONTROLLERS
} | {"csrsigning": "certificatesigningrequest-signing-controller", "nodeipam": "node-ipam-controller",
     "nodelifecycle": "node-lifecycle-controller", "garbagecollector": "garbage-collector-controller",
     "podgc": "pod-garbage-collector-controller", "endpoint": "endpoints-controller",
     "root-ca-cert-publisher": "root-ca-certificate-publisher-controller"}  # fmt: skip


def chosen_controllers(chosen: str, settings: ManagerSettings) -> dict[str, Make]:
    """Those that run; a controller without what it needs (ranges, a CA) is left out."""
    words = [word.strip() for word in chosen.split(",") if word.strip()]
    named = {ALIASES.get(word, word) for word in words if not word.startswith("-")}
    barred = {ALIASES.get(word[1:], word[1:]) for word in words if word.startswith("-")}
    needless = set()
    if not (settings.allocate_node_cidrs and settings.cluster_cidr):
        needless.add("node-ipam-controller")
    if settings.root_ca_file is None:
        needless.add("root-ca-certificate-publisher-controller")
    return {
        name: make
        for name, make in CONTROLLERS.items()
        if name not in barred and name not in needless and (name in named or "*" in named)
    }
