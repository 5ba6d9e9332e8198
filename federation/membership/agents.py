"""
How agents of pull-mode members are known at the federation: names of users, groups and objects. Pure.

An agent is `system:federation:member:NAME`. The signer puts the uid of the Cluster into a group, so that a certificate
is worth nothing once that Cluster has left, even when another one has its name.
"""

from collections.abc import Sequence
from typing import Any

from federation.api.kinds import GROUP as API_GROUP, SYSTEM_NAMESPACE

SIGNER = f"{API_GROUP}/member-agent"
"""signerName of their CertificateSigningRequests."""
USER_PREFIX = "system:federation:member:"
GROUP = "system:federation:members"
UID_PREFIX = "system:federation:cluster:"
"""Of the group that names the Cluster's uid."""
BOOTSTRAPPERS = "system:bootstrappers:federation-members"
"""Group of bootstrap tokens that make agents."""
RETURNING = "system:federation:returning-members"
"""Group of agents whose certificate has expired, and who have proved that its key is theirs."""
BOOTSTRAP_USER = "system:bootstrap:"
IDENTITY = f"{API_GROUP}/identity"
"""Annotation of a request: the uid of the member's Namespace kube-system."""
SERVER = f"{API_GROUP}/server"
"""Annotation of a request: where the member's API is, for whoever can reach it."""
AUTHORITY = f"{API_GROUP}/ca"
"""Annotation of a request: the CA of that API, PEM in base64."""
AGENTS_GO_TO = f"{API_GROUP}/agents-go-to"
"""Annotation of a Cluster in pull mode: the URL of the federation that its agent was given."""
USAGES = frozenset({"client auth", "digital signature"})


def user_of(cluster: str) -> str:
    return USER_PREFIX + cluster


def uid_group(uid: str) -> str:
    return UID_PREFIX + uid


def cluster_of(name: str, groups: Sequence[str]) -> str | None:
    """The cluster whose agent this user is; None for everybody else."""
    if GROUP not in groups or not name.startswith(USER_PREFIX):
        return None
    return name.removeprefix(USER_PREFIX) or None


def uid_of(groups: Sequence[str]) -> str:
    """The Cluster's uid in an agent's groups; empty when there is none, or more than one."""
    found = [group.removeprefix(UID_PREFIX) for group in groups if group.startswith(UID_PREFIX)]
    return found[0] if len(found) == 1 else ""


def lease_name(cluster: str) -> str:
    """Of the heartbeat in federation-system."""
    return f"cluster-{cluster}"


def is_pull(cluster: Any) -> bool:
    return bool(cluster["spec"].get("syncMode") == "Pull")


HEARTBEAT = f"{API_GROUP}/heartbeat"
"""Label of their Leases; its value is the cluster."""


def is_heartbeat(lease: Any) -> bool:
    return HEARTBEAT in (lease["metadata"].get("labels") or {})


def lease_of(cluster: str, now: str) -> Any:
    """The heartbeat; `now` is a MicroTime."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lease_name(cluster), "namespace": SYSTEM_NAMESPACE, "labels": {HEARTBEAT: cluster}},
        "spec": {"holderIdentity": user_of(cluster), "leaseDurationSeconds": 10, "renewTime": now},
    }
