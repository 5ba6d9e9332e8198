"""
Audit events to a webhook: lists of events, posted again with growing pauses while it does not take them.

Source: k8s.io/apiserver, plugin/pkg/audit/webhook.
"""

from collections.abc import Sequence

from cluster.apiserver.webhooks.kubeconfig import KubeconfigWebhook, post_with_backoff

_HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


class AuditWebhook:
    def __init__(self, client: KubeconfigWebhook, *, initial_backoff: float) -> None:
        self._client = client
        self._initial_backoff = initial_backoff

    async def deliver(self, events: Sequence[bytes]) -> None:
        """Raises WebhookError when the events were given up."""
        await post_with_backoff(self._client, _HEAD + b",".join(events) + b"]}", initial=self._initial_backoff)

    async def close(self) -> None:
        await self._client.close()
