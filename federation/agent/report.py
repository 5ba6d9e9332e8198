"""
What this member has, into the status of its own Cluster: when it changes and at no other time.
"""

import asyncio
import logging

from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from federation.api.resources import CLUSTERS
from federation.membership import facts

log = logging.getLogger(__name__)

INTERVAL, SECONDS = 30.0, 15.0
"""Between looks at what the member has, and how long one may take."""
SOON = 3.0
"""Seconds until the next try after one that failed."""


async def report(federation: ApiClient, member: ApiClient, cluster: str) -> None:
    """Until cancelled."""
    while True:
        wait = INTERVAL
        try:
            async with asyncio.timeout(SECONDS):
                found = await facts.collect(member)
                present = (await federation.get(CLUSTERS, cluster)).get("status") or {}
                if any(present.get(key) != value for key, value in found.items()):
                    await federation.patch(CLUSTERS, cluster, {"status": found}, subresource="status")
        except TimeoutError:
            log.warning("what the cluster has is not told: no answer within %g s", SECONDS)
            wait = SOON
        except ApiError as fault:
            log.warning("what the cluster has is not told: %s", fault)
            wait = SOON
        await asyncio.sleep(wait)
