"""
What the provisioner and the services must agree on: paths on a host, names, addresses, ports.

Pure data. The provisioner writes these into units and configuration; the services take them as the defaults
of their flags. Source of the Kubernetes ones: kubeadm's layout.
"""

from pathlib import PurePosixPath

KUBERNETES_VERSION = "1.36.2"
"""The release of Kubernetes that a release of ours behaves as."""

INSTALL_ROOT = PurePosixPath("/opt/hanse")
RELEASES = INSTALL_ROOT / "releases"
CURRENT_RELEASE = INSTALL_ROOT / "current"
"""A symlink to releases/<digest>: an upgrade swaps it, a rollback swaps it back."""

KUBERNETES_DIR = PurePosixPath("/etc/kubernetes")
PKI_DIR = KUBERNETES_DIR / "pki"
ETCD_PKI_DIR = PKI_DIR / "etcd"
CNI_CONF_DIR = PurePosixPath("/etc/cni/net.d")
ETCD_DATA_DIR = PurePosixPath("/var/lib/etcd")
KUBELET_DIR = PurePosixPath("/var/lib/kubelet")
CONTAINERD_DIR = PurePosixPath("/var/lib/containerd")
CONTAINERD_SOCKET = PurePosixPath("/run/containerd/containerd.sock")
POD_LOG_DIR = PurePosixPath("/var/log/pods")

APISERVER_PORT = 6443
ETCD_CLIENT_PORT = 2379
ETCD_PEER_PORT = 2380
ETCD_METRICS_PORT = 2381
KUBELET_PORT = 10250
KUBELET_HEALTHZ_PORT = 10248
PROXY_METRICS_PORT = 10249
PROXY_HEALTHZ_PORT = 10256
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259

SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
NODE_CIDR_MASK_SIZE = 24
CLUSTER_DOMAIN = "cluster.local"
API_SERVICE_ADDRESS = "10.96.0.1"
"""First address of the service network: the Service default/kubernetes."""
CLUSTER_DNS_ADDRESS = "10.96.0.10"

SERVERS_EXTENSION = "hanse.io/servers"
"""Name of the kubeconfig extension that lists every apiserver of a cluster, for clients that fail over."""

CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
"""Label of a master's Node, and key of the taint that keeps workloads off it."""

REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"

PAUSE_IMAGE = "hanse.local/pause:1"
WEB_DEMO_IMAGE = "hanse.local/web:1"
