"""
Invite a cluster to be a member in pull mode: a Cluster, a bootstrap token for its agent, and the federation's CA where
the agent can see it before it has a login. Called by the command line; undone when it fails, safe to repeat.
"""

import base64
import datetime as dt
import json
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.names import dns_subdomain
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError
from cluster.pki.authority import PkiError
from cluster.pki.pinning import pins_of
from federation.api.kinds import CLUSTER_VERSION
from federation.api.resources import CLUSTERS
from federation.membership.agents import AGENTS_GO_TO, is_pull
from federation.membership.bootstrap_tokens import LIFETIME, BootstrapToken, make_token, token_secret
from federation.membership.join import JoinError, authority_data, member_identity, refuse_twin

PUBLIC, INFO = "kube-public", "cluster-info"
"""Namespace and ConfigMap; kubeadm's, so that tools which know it find it."""
INFO_PATH = f"/api/v1/namespaces/{PUBLIC}/configmaps/{INFO}"
_READERS = "kubeadm:bootstrap-signer-clusterinfo"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an agent needs to become one. Its repr holds no secret."""

    cluster: str
    server: str
    """The federation's."""
    pins: tuple[str, ...]
    token: BootstrapToken


async def invite(
    federation: ApiClient,
    name: str,
    *,
    member: ClientConfig | None = None,
    labels: dict[str, str] | None = None,
    lifetime: dt.timedelta = LIFETIME,
) -> Invitation:
    """
    A new invitation, good for a day unless it is said otherwise.

    Args:
        federation: Allowed to write Clusters, Secrets and roles.
        name: What the member is called from now on.
        member: A login at it, when there is one: its identity is then settled now, else by its agent.

    Raises JoinError.
    """
    if faults := dns_subdomain(name):
        raise JoinError(f"{name!r} is no name for a cluster: {faults[0]}")
    spec: Object = {"syncMode": "Pull", "serverAddressByClientCIDRs": []}
    if member is not None:
        identity = await member_identity(name, member)
        await refuse_twin(federation, name, identity)
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": member.servers[0]}
        spec |= {"uid": identity, "serverAddressByClientCIDRs": [address]}
    try:
        if member is not None and (authority := authority_data(member)):
            spec["caBundle"] = base64.b64encode(authority).decode()
        pins = pins_of(authority_of(federation.config))
        await _publish(federation)
        cluster, made = await _cluster(federation, name, spec, labels or {})
    except (ApiError, OSError, PkiError) as error:
        raise JoinError(f"cluster {name} cannot be invited: {error}") from error
    token = make_token()
    secret = token_secret(token, name, cluster["metadata"]["uid"], dt.datetime.now(dt.UTC), lifetime)
    try:
        await federation.create(resources.SECRETS, secret)
    except ApiError as error:
        if made:
            await federation.delete(CLUSTERS, name)
        raise JoinError(f"cluster {name} cannot be invited: {error}") from error
    return Invitation(name, federation.config.servers[0], pins, token)


def authority_of(config: ClientConfig) -> bytes:
    """PEM of the CAs by which a server is known. Raises OSError; PkiError when it is known by none of its own."""
    found = authority_data(config)
    if not found:
        raise PkiError("the federation's kubeconfig names no CA (certificate-authority-data)")
    return found


async def _cluster(federation: ApiClient, name: str, spec: Object, labels: dict[str, str]) -> tuple[Object, bool]:
    """The Cluster, and whether it is new. Raises ApiError, JoinError."""
    wanted: Object = {
        "apiVersion": CLUSTER_VERSION,
        "kind": "Cluster",
        "metadata": {"name": name, "labels": labels, "annotations": {AGENTS_GO_TO: federation.config.servers[0]}},
        "spec": spec,
    }
    try:
        return await federation.create(CLUSTERS, wanted), True
    except AlreadyExists:
        present = await federation.get(CLUSTERS, name)
    if not is_pull(present):
        raise JoinError(f"cluster {name} is a member in push mode: let it leave first")
    known = present["spec"].get("uid")
    if known and spec.get("uid", known) != known:
        raise JoinError(f"there is another member called {name}: choose another name, or let that one leave first")
    change: Object = {"metadata": {"labels": labels, "annotations": wanted["metadata"]["annotations"]}}
    if spec.get("uid"):
        change["spec"] = spec
    return await federation.patch(CLUSTERS, name, change, patch_type="merge"), False


async def _publish(federation: ApiClient) -> None:
    """The federation's CA, for everybody; who knows its pin believes it."""
    cluster: Object = {
        "server": federation.config.servers[0],
        "certificate-authority-data": base64.b64encode(authority_of(federation.config)).decode(),
    }
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]}
    metadata: Object = {"name": INFO, "namespace": PUBLIC}
    data = {"kubeconfig": json.dumps(kubeconfig)}
    info = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    await _put(federation, resources.CONFIG_MAPS, info)
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [INFO], "verbs": ["get"]}
    about: Object = {"name": _READERS, "namespace": PUBLIC}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": about, "rules": [rule]}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": about,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _READERS},
        "subjects": [{"kind": "User", "name": "system:anonymous", "apiGroup": _RBAC}],
    }
    await _put(federation, resources.named(f"roles.{_RBAC}"), role)
    await _put(federation, resources.named(f"rolebindings.{_RBAC}"), binding)


async def _put(federation: ApiClient, resource: resources.Resource, wanted: Object) -> None:
    try:
        await federation.create(resource, wanted)
    except AlreadyExists:
        change = {key: value for key, value in wanted.items() if key in ("data", "rules", "subjects")}
        metadata = wanted["metadata"]
        await federation.patch(resource, metadata["name"], change, namespace=metadata["namespace"], patch_type="merge")
