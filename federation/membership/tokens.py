"""
The federation's login in a member: a ServiceAccount, what it may do, and short-lived tokens in a kubeconfig.

`join.py` makes it, the controller manager renews the token at two thirds of its life.
"""

import asyncio
import base64
import datetime as dt
import json
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict, NotFound
from federation.api.kinds import SYSTEM_NAMESPACE

ACCOUNT = "federation-controller"
ROLE = "federation-controller"
LIFETIME = 24 * 3600
"""Seconds that are asked for; a member may grant fewer."""
RENEW_AT = 2 / 3
ENDING_SECONDS = 60.0
"""How long a Namespace may take to go that an earlier membership had."""
LOOK = 0.2  # seconds between looks at it
EXPIRES = "federation.hanse.io/token-expires"
ISSUED = "federation.hanse.io/token-issued"
"""Annotations of the Secret: RFC 3339."""
MEMBER_LABEL = "federation.hanse.io/joined-by"
"""On everything that joining made in a member."""


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """Never printed."""

    text: str
    issued: dt.datetime
    expires: dt.datetime

    @property
    def renew_at(self) -> dt.datetime:
        return self.issued + (self.expires - self.issued) * RENEW_AT


def login_objects() -> list[tuple[resources.Resource, Object]]:
    """What the login consists of, in the order in which it is made."""
    labels = {MEMBER_LABEL: "federation"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        (
            resources.NAMESPACES,
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE, "labels": labels}},
        ),
        (
            resources.SERVICE_ACCOUNTS,
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT, "namespace": SYSTEM_NAMESPACE, "labels": labels},
            },
        ),
        (
            resources.named(f"clusterroles.{rbac}"),
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": ROLE, "labels": labels},
                "rules": everything,
            },
        ),
        (
            resources.named(f"clusterrolebindings.{rbac}"),
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": ROLE, "labels": labels},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ROLE},
                "subjects": [subject],
            },
        ),
    ]


async def make_login(client: ApiClient) -> list[tuple[resources.Resource, Object]]:
    """Make what is missing; what was made now, for who has to undo it. Raises ApiError after undoing it."""
    made: list[tuple[resources.Resource, Object]] = []
    owner: list[Object] = []
    try:
        for resource, wanted in login_objects():
            if not resource.namespaced and owner:
                # Whoever leaves deletes the Namespace, and the member's garbage collector the rest: with our own
                # login we could not take away what gives us the right to do so.
                wanted["metadata"]["ownerReferences"] = owner
            if resource == resources.NAMESPACES:
                await _until_ended(client, wanted["metadata"]["name"])
            try:
                created = await client.create(resource, wanted)
            except AlreadyExists:
                if resource.namespaced or resource == resources.NAMESPACES:
                    created = await client.get(
                        resource, wanted["metadata"]["name"], namespace=wanted["metadata"].get("namespace", "")
                    )
                else:
                    await client.patch(resource, wanted["metadata"]["name"], wanted, patch_type="merge")
                    continue
            else:
                made.append((resource, wanted))
            if resource == resources.NAMESPACES and is_ours(created):
                owner = [{"apiVersion": "v1", "kind": "Namespace", **_identity(created)}]
    except ApiError:
        await remove(client, made)
        raise
    return made


async def _until_ended(client: ApiClient, name: str) -> None:
    """Whoever has just left leaves a Namespace that is being emptied: nothing can be made in it. Raises ApiError."""
    namespace: Object = {}
    try:
        async with asyncio.timeout(ENDING_SECONDS):
            while True:
                namespace = await client.get(resources.NAMESPACES, name)
                if not namespace["metadata"].get("deletionTimestamp"):
                    return
                await asyncio.sleep(LOOK)
    except NotFound:
        return
    except TimeoutError:
        since, why = namespace["metadata"]["deletionTimestamp"], _what_is_left(namespace)
        raise Conflict(
            f"its Namespace {name} has been going since {since}, and nothing can be made in it until it is gone"
            f"{why}: remove what holds it up, and join again"
        ) from None


def _what_is_left(namespace: Object) -> str:
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    said = [str(one.get("message") or "") for one in conditions if one.get("status") == "True"]
    return f" ({'; '.join(filter(None, said))})" if any(said) else ""


def is_ours(namespace: Object) -> bool:
    """Whether joining made the member's Namespace, so that leaving may take it away."""
    return MEMBER_LABEL in (namespace["metadata"].get("labels") or {})


def _identity(obj: Object) -> Object:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


async def remove(client: ApiClient, made: list[tuple[resources.Resource, Object]]) -> None:
    """Take away, last first. Raises the first ApiError other than NotFound, after trying all."""
    fault: ApiError | None = None
    for resource, wanted in reversed(made):
        metadata = wanted["metadata"]
        try:
            await client.delete(resource, metadata["name"], namespace=metadata.get("namespace", ""))
        except ApiError as error:
            if error.http_code != 404 and fault is None:
                fault = error
    if fault is not None:
        raise fault


async def request_token(client: ApiClient, lifetime: int = LIFETIME) -> Token:
    """A new token of the account. Raises ApiError."""
    wanted: Object = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": lifetime},
    }
    answer = await client.create(
        resources.SERVICE_ACCOUNTS, wanted, namespace=SYSTEM_NAMESPACE, name=ACCOUNT, subresource="token"
    )
    try:
        status = answer["status"]
        expires = dt.datetime.fromisoformat(status["expirationTimestamp"])
        return Token(str(status["token"]), dt.datetime.now(dt.UTC), expires)
    except (KeyError, TypeError, ValueError) as error:
        raise ApiError(f"the answer to the request of a token makes no sense: {error!r}") from None


def kubeconfig_with(config: ClientConfig, token: str) -> bytes:
    """A kubeconfig that names no files. Raises OSError when the CA's file cannot be read."""
    authority = config.ca_file.read_bytes() if config.ca_file is not None else config.ca_data
    cluster: Object = {"server": config.servers[0]}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    if config.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if config.tls_server_name:
        cluster["tls-server-name"] = config.tls_server_name
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "member",
            "clusters": [{"name": "member", "cluster": cluster}],
            "users": [{"name": ACCOUNT, "user": {"token": token}}],
            "contexts": [{"name": "member", "context": {"cluster": "member", "user": ACCOUNT}}],
        }
    ).encode()


def secret_of(name: str, kubeconfig: bytes, token: Token) -> Object:
    """The Secret in federation-system that a Cluster's secretRef names."""
    times = {ISSUED: token.issued.isoformat(timespec="seconds"), EXPIRES: token.expires.isoformat(timespec="seconds")}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "annotations": times},
        "data": {"kubeconfig": base64.b64encode(kubeconfig).decode()},
    }


def renewal_time(secret: Object) -> dt.datetime | None:
    """When its token is to be renewed; None for credentials that we did not make."""
    annotations = secret["metadata"].get("annotations") or {}
    try:
        issued, expires = (dt.datetime.fromisoformat(annotations[key]) for key in (ISSUED, EXPIRES))
    except (KeyError, ValueError):
        return None
    return issued + (expires - issued) * RENEW_AT
