"""A login for the federation's board: an account of its own that may read what the board shows, and nothing else."""

from dataclasses import dataclass

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from federation.api.kinds import GROUP, SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from federation.errors import UnreachableError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.host.services import url
from federation.placement.left_alone import LOCAL

ACCOUNT = "board"
ROLE = "federation:board"


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Never logged."""

    url: str
    token: str
    expires: str
    """RFC 3339."""


async def login(home: Home, hours: int) -> Login:
    """Makes the account when it is not there, and a token for it. Raises FederateError."""
    description = home.require()
    try:
        async with client(home) as api:
            for resource, obj in _objects():
                await _apply(api, resource, obj)
            request = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": hours * 3600},
            }
            answer = await api.create(
                resources.SERVICE_ACCOUNTS, request, namespace=SYSTEM_NAMESPACE, name=ACCOUNT, subresource="token"
            )
    except (ApiError, TimeoutError) as fault:
        raise UnreachableError(
            f"federation {home.name} gives no login for its board", why=str(fault),
            next_step=f"`federate init {home.name}` starts what died.",
        ) from fault  # fmt: skip
    status = answer["status"]
    return Login(f"{url(description)}/board/", status["token"], status["expirationTimestamp"])


async def _apply(api: ApiClient, resource: resources.Resource, obj: Object) -> None:
    metadata = obj["metadata"]
    await api.patch(
        resource, metadata["name"], obj, namespace=metadata.get("namespace", ""), patch_type="apply",
        field_manager="federate", force=True,
    )  # fmt: skip


def _objects() -> list[tuple[resources.Resource, Object]]:
    """They are the federation's own and go to no member."""
    mine = {"labels": {LOCAL: "true"}}
    rbac = "rbac.authorization.k8s.io"
    reads = ["get", "list", "watch"]
    shown = ["placements", "clusterplacements", "dnsrecordsets", "dnspolicies", "clusterdnspolicies"]
    return [
        (resources.SERVICE_ACCOUNTS, {
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": SYSTEM_NAMESPACE, **mine},
        }),
        (resources.named(f"clusterroles.{rbac}"), {
            "apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": ROLE, **mine},
            "rules": [
                {"apiGroups": [CLUSTERS.group], "resources": [CLUSTERS.plural], "verbs": reads},
                {"apiGroups": [GROUP], "resources": shown, "verbs": reads},
                {"apiGroups": [""], "resources": ["services"], "verbs": reads},
            ],
        }),
        (resources.named(f"clusterrolebindings.{rbac}"), {
            "apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": ROLE, **mine},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}],
        }),
    ]  # fmt: skip
