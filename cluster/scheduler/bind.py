"""
Bind a Pod to the Node that the scheduling cycle chose.

The only place on the client side that sets `spec.nodeName`. It posts a Binding and never patches the Pod, so two
schedulers racing for one Pod are settled by the apiserver: the second gets 409.

Called by   cluster.scheduler.scheduler, once a Pod, after room on the Node is assumed.
Not here    choosing the Node (cycle.py); trying again (queue.py).
"""

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.scheduler.pod_info import PodInfo


async def bind_pod(client: ApiClient, pod: PodInfo, node_name: str) -> None:
    """
    Assign a Pod to a Node by creating its Binding.

    Args:
        client: Needs leave to `create` on `pods/binding`.
        pod: Its uid guards against a Pod deleted and made anew under the same name.
        node_name: `metadata.name` of the Node. Nobody checks here that it exists.

    Raises:
        Conflict: Bound already, perhaps elsewhere, or another uid. Drop the Pod; the watch will tell.
        NotFound: Deleted meanwhile. Drop the Pod.
        ServiceUnavailable: Outcome unknown. Try again after a while; binding twice is refused.
    """
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
    }
    await client.create(resources.PODS, binding, namespace=pod.key.namespace, subresource="binding", name=pod.key.name)
