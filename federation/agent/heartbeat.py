"""
Say every two seconds that this member is well: its own API has just answered, and the federation is reached.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, Forbidden, NotFound, Unauthorized
from cluster.machinery.timestamps import format_micro_time
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.membership.agents import lease_name, lease_of
from federation.membership.health import PROBE_INTERVAL
from federation.membership.probe import probe

log = logging.getLogger(__name__)


async def beat(federation: ApiClient, member: ApiClient, cluster: str, refused: Callable[[], None]) -> None:
    """Until cancelled. `refused` is called when the federation takes us for nobody."""
    failing = ""
    while True:
        began = asyncio.get_running_loop().time()
        why = await probe(member)
        if not why:
            why = await _say(federation, cluster, refused)
        if why != failing:
            log.log(logging.WARNING if why else logging.INFO, "heartbeat: %s", why or "it goes on")
            failing = why
        await asyncio.sleep(max(0.0, PROBE_INTERVAL - (asyncio.get_running_loop().time() - began)))


async def _say(federation: ApiClient, cluster: str, refused: Callable[[], None]) -> str:
    """Empty when it was heard, else why not."""
    lease = lease_of(cluster, format_micro_time(dt.datetime.now(dt.UTC)))
    change = {"metadata": {"labels": lease["metadata"]["labels"]}, "spec": lease["spec"]}
    try:
        async with asyncio.timeout(PROBE_INTERVAL):
            try:
                await federation.patch(resources.LEASES, lease_name(cluster), change, namespace=SYSTEM_NAMESPACE)
            except NotFound:
                await federation.create(resources.LEASES, lease)
    except TimeoutError:
        return f"the federation does not answer within {PROBE_INTERVAL:g} s"
    except (Unauthorized, Forbidden) as fault:
        refused()
        return str(fault)
    except ApiError as fault:
        return str(fault)
    return ""
