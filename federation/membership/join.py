"""
Make a cluster a member, in push mode: a login for us in it, then a Secret and a Cluster in the federation.

Called by the command line with a kubeconfig of the user's. Undone when it fails; safe to repeat, which also renews
the credentials.
"""

import base64

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.names import dns_subdomain
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError
from federation.api.kinds import CLUSTER_VERSION, SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from federation.membership.tokens import Token, kubeconfig_with, make_login, remove, request_token, secret_of

USER_AGENT = "hanse-federation-join"


class JoinError(Exception):
    """The cluster did not become a member and everything is as before. The message says why and what to do."""


async def join(
    federation: ApiClient, name: str, config: ClientConfig, *, labels: dict[str, str] | None = None
) -> Object:
    """
    The Cluster object of the new member.

    Args:
        federation: Client of the federation's apiserver, allowed to write Clusters and Secrets.
        name: What the member is called from now on.
        config: A login at the member that may make ServiceAccounts and ClusterRoles.

    Raises JoinError.
    """
    if faults := dns_subdomain(name):
        raise JoinError(f"{name!r} is no name for a cluster: {faults[0]}")
    identity = await member_identity(name, config)
    await refuse_twin(federation, name, identity)
    async with ApiClient(config, user_agent=USER_AGENT) as user:
        try:
            made = await make_login(user)
        except ApiError as error:
            raise JoinError(f"cannot make the federation's login in cluster {name}: {error}") from error
        try:
            token = await request_token(user)
            kubeconfig = kubeconfig_with(config, token.text)
            await _try_out(config, token)
            return await _register(federation, name, identity, config, kubeconfig, token, labels or {})
        except (ApiError, OSError, JoinError) as error:
            try:
                await remove(user, made)
            except ApiError as left:
                raise JoinError(f"cluster {name} did not join: {error}; not all could be undone: {left}") from error
            raise JoinError(f"cluster {name} did not join: {error}") from error


async def member_identity(name: str, config: ClientConfig) -> str:
    """The uid of its Namespace kube-system. Raises JoinError."""
    async with ApiClient(config, user_agent=USER_AGENT) as client:
        try:
            system = await client.get(resources.NAMESPACES, "kube-system")
        except ApiError as error:
            raise JoinError(f"cluster {name} does not answer: {error}") from error
    return str(system["metadata"]["uid"])


async def refuse_twin(federation: ApiClient, name: str, identity: str) -> None:
    """Raises JoinError when the cluster is a member by another name, or the name is another cluster's."""
    try:
        known = (await federation.list(CLUSTERS)).get("items") or ()
    except ApiError as error:
        raise JoinError(f"the federation does not answer: {error}") from error
    for cluster in known:
        uid, other = (cluster.get("spec") or {}).get("uid"), cluster["metadata"]["name"]
        if uid == identity and other != name:
            raise JoinError(f"this cluster is a member already, as {other} (kube-system has the uid {identity})")
        if other == name and uid and uid != identity:
            raise JoinError(f"there is another member called {name}: choose another name, or let that one leave first")


async def _try_out(config: ClientConfig, token: Token) -> None:
    """The new login reaches the member. Raises ApiError."""
    login = ClientConfig(
        servers=config.servers,
        ca_file=config.ca_file,
        ca_data=config.ca_data,
        insecure=config.insecure,
        tls_server_name=config.tls_server_name,
        token=token.text,
    )
    async with ApiClient(login, user_agent=USER_AGENT) as client:
        await client.get(resources.NAMESPACES, SYSTEM_NAMESPACE)


async def _register(
    federation: ApiClient,
    name: str,
    identity: str,
    config: ClientConfig,
    kubeconfig: bytes,
    token: Token,
    labels: dict[str, str],
) -> Object:
    """The Secret first: a Cluster without one could not be asked anything. A new Secret goes again if that fails."""
    secret_name = f"cluster-{name}"
    secret = secret_of(secret_name, kubeconfig, token)
    new = await _put_secret(federation, secret)
    spec: Object = {
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": config.servers[0]}],
        "secretRef": {"name": secret_name},
        "syncMode": "Push",
        "uid": identity,
    }
    if authority := authority_data(config):
        spec["caBundle"] = base64.b64encode(authority).decode()
    cluster: Object = {
        "apiVersion": CLUSTER_VERSION,
        "kind": "Cluster",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }
    try:
        try:
            return await federation.create(CLUSTERS, cluster)
        except AlreadyExists:
            again: Object = {"spec": spec, "metadata": {"labels": labels}}
            return await federation.patch(CLUSTERS, name, again, patch_type="merge")
    except ApiError:
        if new:
            await federation.delete(resources.SECRETS, secret_name, namespace=SYSTEM_NAMESPACE)
        raise


def authority_data(config: ClientConfig) -> bytes:
    """PEM of the CAs that a server is known by; nothing where the system's are. Raises OSError."""
    return config.ca_data or (config.ca_file.read_bytes() if config.ca_file is not None else b"")


async def _put_secret(federation: ApiClient, secret: Object) -> bool:
    """Whether it was not there before."""
    try:
        await federation.create(resources.SECRETS, secret)
    except AlreadyExists:
        await _replace(federation, secret)
        return False
    return True


async def renew(federation: ApiClient, member: ApiClient, secret: Object) -> None:
    """A new token into the member's Secret. Raises ApiError; NotFound when the member has left meanwhile."""
    token = await request_token(member)
    renewed = secret_of(secret["metadata"]["name"], kubeconfig_with(member.config, token.text), token)
    await _replace(federation, renewed)


async def _replace(federation: ApiClient, secret: Object) -> None:
    changed = {"data": secret["data"], "metadata": {"annotations": secret["metadata"]["annotations"]}}
    await federation.patch(
        resources.SECRETS, secret["metadata"]["name"], changed, namespace=SYSTEM_NAMESPACE, patch_type="merge"
    )
