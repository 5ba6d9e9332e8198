"""
ClusterSpec -> the inventory that Ansible reads: groups of hosts, one a role, and each host's variables.

Variables that the roles read:
    hanse_cluster   name, service_cidr, pod_cidr, node_cidr_mask_size, dns_domain, dns_address, api_servers (URLs),
                    virtual_address (or ""), pod_network, etcd (list of {name, address}),
                    etcd_state (new or existing), service_account_issuer, etcd_heartbeat_ms,
                    etcd_election_ms, etcd_quota_bytes;
                    of a federation dns_zone (or "") and name_servers (addresses)
    hanse_host      name, address, roles, labels, taints, interface
    hanse_release   digest of the release below /opt/hanse/releases
    hanse_pki       path below /etc/kubernetes/pki -> file on the operator's machine: secrets are no variables
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inventory.model import ClusterSpec, HostSpec, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportContext:
    """What the description does not know and Ansible needs."""

    release: str
    known_hosts: str
    """File with the pinned host keys."""
    pki: Mapping[str, Mapping[str, str]]
    """Host name -> its `hanse_pki`."""
    interfaces: Mapping[str, str]
    """Host name -> interface that holds its address."""


def ansible_inventory(spec: ClusterSpec, context: ExportContext) -> dict[str, Any]:
    """Ansible's JSON inventory. Every host appears in `all`, and by name alone in the groups of its roles."""
    shared = {"hanse_cluster": cluster_variables(spec), "hanse_release": context.release}
    return {
        "all": {
            "hosts": {host.name: _host_variables(host, context) for host in spec.hosts},
            "vars": shared,
            "children": {
                role.value: {"hosts": {host.name: {} for host in hosts}}
                for role in Role
                if (hosts := spec.with_role(role))
            },
        }
    }


def cluster_variables(spec: ClusterSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "service_cidr": spec.network.service_cidr,
        "pod_cidr": spec.network.pod_cidr,
        "node_cidr_mask_size": spec.network.node_mask_size,
        "dns_domain": spec.network.domain,
        "dns_address": spec.network.dns_address,
        "api_servers": list(spec.api_servers),
        "virtual_address": spec.control_plane.virtual_address,
        "pod_network": spec.network.pod_network.value,
        "etcd": [{"name": host.name, "address": host.address} for host in spec.with_role(Role.ETCD)],
        "etcd_state": "existing" if spec.quorum_formed else "new",
        "service_account_issuer": spec.service_account_issuer,
        "etcd_heartbeat_ms": spec.etcd.heartbeat_interval,
        "etcd_election_ms": spec.etcd.election_timeout,
        "etcd_quota_bytes": spec.etcd.quota_bytes,
        "dns_zone": spec.federation.zone if spec.federation else "",
        "name_servers": [host.address for host in spec.with_role(Role.FEDERATION)],
    }


def _host_variables(host: HostSpec, context: ExportContext) -> dict[str, Any]:
    options = [
        f"-o UserKnownHostsFile={context.known_hosts}",
        "-o StrictHostKeyChecking=yes",
        "-o ControlMaster=auto",
        "-o ControlPersist=60s",
        # The keys are pinned per address; what the user's own files say does not count.
        "-o GlobalKnownHostsFile=/dev/null",
    ]
    if host.ssh.bastion:
        options.append(f"-o ProxyJump={host.ssh.bastion}")
    variables: dict[str, Any] = {
        "ansible_host": host.address,
        "ansible_port": host.ssh.port,
        "ansible_user": host.ssh.user,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": " ".join(options),
        "hanse_host": {
            "name": host.name,
            "address": host.address,
            "roles": sorted(role.value for role in host.roles),
            "labels": dict(host.labels),
            "taints": list(host.taints),
            "interface": host.interface or context.interfaces.get(host.name, ""),
        },
        "hanse_pki": dict(context.pki.get(host.name, {})),
    }
    if host.ssh.key:
        variables["ansible_ssh_private_key_file"] = host.ssh.key
    if host.ssh.become:
        variables["ansible_become"] = True
    return variables
