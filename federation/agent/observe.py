"""
Look at members that the federation is in doubt about, and say whether they answer.

Nothing is asked but /readyz, without a login: a server that turns us away is there, too.
"""

import asyncio
import base64
import binascii
import datetime as dt
import logging

from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError
from cluster.machinery.timestamps import format_time
from federation.agent.login import USER_AGENT
from federation.api.resources import CLUSTERS
from federation.membership.health import PROBE_INTERVAL
from federation.membership.sightings import updated, wanted

log = logging.getLogger(__name__)

TURNED_AWAY = frozenset({401, 403, 404, 429})


async def observe(federation: ApiClient, cluster: str, clusters: Informer) -> None:
    """Until cancelled. `clusters` is somebody else's informer, which runs."""
    changed = asyncio.Event()
    clusters.add_handler(lambda _: changed.set(), lambda _old, _new: changed.set())
    await clusters.wait_synced()
    while True:
        changed.clear()
        doubted = wanted(clusters.list(), cluster)
        answers = await asyncio.gather(*(_answers(one) for one in doubted))
        seen = {one["metadata"]["name"]: answer for one, answer in zip(doubted, answers, strict=True)}
        own = (clusters.get(Key("", cluster)) or {}).get("status") or {}
        before = own.get("sightings") or []
        now = updated(before, seen, format_time(dt.datetime.now(dt.UTC)))
        if now != before:
            try:
                await federation.patch(CLUSTERS, cluster, {"status": {"sightings": now}}, subresource="status")
            except ApiError as fault:
                log.warning("what is seen of other members is not told: %s", fault)
        if doubted or now:
            await asyncio.sleep(PROBE_INTERVAL)
        else:
            await changed.wait()


async def _answers(cluster: Object) -> bool:
    spec = cluster["spec"]
    address = str(spec["serverAddressByClientCIDRs"][0]["serverAddress"])
    server = address if "://" in address else f"https://{address}"
    try:
        config = ClientConfig(servers=(server,), ca_data=base64.b64decode(spec["caBundle"], validate=True))
    except binascii.Error:
        return False
    async with ApiClient(config, user_agent=USER_AGENT, connections=1) as client:
        try:
            async with asyncio.timeout(PROBE_INTERVAL):
                await client.request("GET", "/readyz")
        except TimeoutError:
            return False
        except ApiError as error:
            return error.http_code in TURNED_AWAY
    return True
