"""A Pod on one node, to see that the node runs what it is given."""

import asyncio
import secrets

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from provisioner.errors import ProvisionError

NAMESPACE = "kube-system"
PATIENCE = 60.0  # seconds; it takes one or two
_ASK_AGAIN = 0.25
_IMAGE = "hanse.local/web:1"


async def run_pod(client: ApiClient, node: str) -> None:
    """Returns once a Pod there was Running, and is gone again. Raises ProvisionError."""
    name = f"hanse-smoke-{node}-{secrets.token_hex(3)}"[:63]
    why = "it was not created"
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    pod = await _created(client, name, node)
                    if pod.get("status", {}).get("phase") == "Running":
                        break
                    why = _why(pod)
                except ApiError as error:  # the apiserver that was asked may be the one that restarts
                    why = str(error)
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"node {node} runs no Pod", why=f"after {PATIENCE:g} s: {why}",
            next_step="Read `journalctl -u kubelet -u containerd` on the host.", host=node,
        ) from error  # fmt: skip
    finally:
        try:
            await client.delete(resources.PODS, name, namespace=NAMESPACE, options={"gracePeriodSeconds": 0})
        except NotFound:
            pass
        except ApiError as error:
            # What is left has a deadline of its own.
            why = str(error)


async def _created(client: ApiClient, name: str, node: str) -> Object:
    try:
        return await client.get(resources.PODS, name, namespace=NAMESPACE)
    except NotFound:
        return await client.create(resources.PODS, _pod(name, node))


def _pod(name: str, node: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "hanse-smoke"}},
        "spec": {
            "nodeName": node,
            "activeDeadlineSeconds": 120,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "web", "image": _IMAGE, "imagePullPolicy": "Never"}],
        },
    }


def _why(pod: Object) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason')}: {waiting.get('message') or ''}".rstrip(": ")
    return f"it is {status.get('phase') or 'unknown'}"
