"""
Every field of a description: its kind, default and meaning. Data.

One table for the loader (which checks it), the JSON Schema (which prints it) and the docs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NAME_PATTERN: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""DNS label (RFC 1123): a host's name becomes a Node's and a certificate's."""

CLUSTER_NAME_PATTERN: Final = r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?"
"""Short, because machines, interfaces and the kubeconfig's context carry it."""

DNS_NAME_PATTERN: Final = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"

ROLES: Final = ("etcd", "control_plane", "node", "master")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One key of a section."""

    kind: str
    """string, integer, boolean, address, network, words (list), labels (text to text), section, sections (list)."""
    meaning: str
    default: Any = None
    """None: none is needed, or `required`."""
    required: bool = False
    choices: tuple[str, ...] = ()
    """Allowed words of a string, or of each of the words."""
    pattern: str = ""
    minimum: int | None = None
    maximum: int | None = None
    section: "Mapping[str, Field] | None" = None
    """The keys of a section, or of each of the sections."""


SSH: Final[Mapping[str, Field]] = {
    "user": Field(kind="string", default="root", meaning="Who logs in."),
    "port": Field(kind="integer", default=22, minimum=1, maximum=65535, meaning="TCP port of sshd."),
    "key": Field(kind="string", default="", meaning="Private key file. Without one: the agent and the default keys."),
    "bastion": Field(kind="string", default="", meaning="user@host:port to jump through."),
    "become": Field(kind="boolean", default=False, meaning="Whether the user turns into root by sudo."),
}

HOST: Final[Mapping[str, Field]] = {
    "name": Field(kind="string", required=True, pattern=NAME_PATTERN, meaning="The host's name, and its Node's."),
    "address": Field(kind="address", required=True, meaning="IP address at which all others reach the host."),
    "roles": Field(
        kind="words",
        choices=ROLES,
        meaning="What the host does; `master` means control_plane. Without it roles follow the number of hosts.",
    ),
    "ssh": Field(kind="section", section=SSH, meaning="What differs from the cluster's `ssh`."),
    "labels": Field(kind="labels", meaning="Labels of the Node."),
    "taints": Field(kind="words", meaning="Taints the Node is registered with: key=value:Effect."),
    "interface": Field(kind="string", default="", meaning="Interface that holds the address; found when not given."),
}

ETCD: Final[Mapping[str, Field]] = {
    "heartbeat_interval": Field(
        kind="integer", default=200, minimum=10, maximum=10_000, meaning="Milliseconds between the leader's heartbeats."
    ),
    "election_timeout": Field(
        kind="integer", default=2000, minimum=50, maximum=50_000, meaning="Milliseconds of silence before an election."
    ),
    "quota_bytes": Field(
        kind="integer",
        default=4 * 1024**3,
        minimum=64 * 1024**2,
        maximum=16 * 1024**3,
        meaning="Largest database size.",
    ),
}

NETWORK: Final[Mapping[str, Field]] = {
    "service_cidr": Field(kind="network", default="10.96.0.0/16", meaning="Addresses of Services."),
    "pod_cidr": Field(kind="network", default="10.244.0.0/16", meaning="Addresses of Pods."),
    "node_mask_size": Field(
        kind="integer", default=24, minimum=8, maximum=126, meaning="Prefix length of each node's share of pod_cidr."
    ),
    "domain": Field(
        kind="string", default="cluster.local", pattern=DNS_NAME_PATTERN, meaning="The cluster's DNS domain."
    ),
    "pod_network": Field(
        kind="string", default="vxlan", choices=("vxlan", "host-routes"), meaning="How Pods of different nodes meet."
    ),
}

CONTROL_PLANE: Final[Mapping[str, Field]] = {
    "virtual_address": Field(
        kind="address", default="", meaning="Unused address of the hosts' network that a healthy master holds."
    ),
    "extra_names": Field(kind="words", meaning="More names or addresses in the apiserver's certificate."),
}

CLUSTER: Final[Mapping[str, Field]] = {
    "name": Field(kind="string", default="dev", pattern=CLUSTER_NAME_PATTERN, meaning="The cluster's name."),
    "kubernetes_version": Field(
        kind="string", default="1.36", choices=("1.36",), meaning="The API level that is served."
    ),
    "hosts": Field(kind="sections", required=True, section=HOST, meaning="The machines."),
    "ssh": Field(kind="section", section=SSH, meaning="How hosts are reached, where they do not say otherwise."),
    "etcd": Field(kind="section", section=ETCD, meaning="The etcd quorum."),
    "network": Field(kind="section", section=NETWORK, meaning="The cluster's own networks."),
    "control_plane": Field(kind="section", section=CONTROL_PLANE, meaning="How the API is reached."),
}
