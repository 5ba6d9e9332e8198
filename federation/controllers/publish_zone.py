"""
Brings one Service's names in a zone elsewhere to what they shall answer, and tells in its DNSRecordSet how that went.

Called by   federation.controllers.publish_dns.    Not here    which changes (federation.dns.plan), how they are made
(federation.dns.providers).
"""

import datetime as dt
import logging

from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import NotFound
from cluster.machinery.timestamps import format_time
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.plan import Desired, plan_changes
from federation.dns.providers.provider import Provider, ProviderError
from federation.dns.recordsets import RecordSet, by_name

log = logging.getLogger(__name__)

PUBLISHED = "Published"
MOST_WORDS = 4000  # characters of a condition's message


class ZonePublisher:
    """
    Args:
        uid: the federation's, by which it knows its names.
    """

    def __init__(self, client: ApiClient, provider: Provider, uid: str) -> None:
        self._client = client
        self._provider = provider
        self._uid = uid
        self.refused: dict[Key, dict[str, str]] = {}
        """Service -> name -> why the zone was not changed there."""

    async def publish(self, key: Key, records: tuple[RecordSet, ...], names: set[str], *, synced: bool) -> bool:
        """
        Whether the zone is as it shall be, or what is in the way is somebody else's, so that trying again is no use.

        Args:
            names: those that may have to change, gone ones too.
            synced: everything that decided about the records is known.
        """
        express = self._provider.express
        desired = {name: Desired(express(group), str(key)) for name, group in by_name(records).items()}
        try:
            observed = await self._provider.observe(names)
            plan = plan_changes(desired, observed, self._uid, synced=synced)
            failed = await self._provider.apply(plan.changes)
        except ProviderError as error:
            log.warning("names of Service %s are not published: %s", key, error)
            await self._report(key, "ProviderFailed", str(error))
            return False
        faults = {**plan.refused, **failed}
        if faults != self.refused.get(key, {}):
            for why in faults.values():
                log.warning("Service %s: %s", key, why)
        self.refused.pop(key, None)
        if faults:
            self.refused[key] = faults
        await self._report(key, "Refused" if faults else "", "; ".join([*faults.values(), plan.why_held]).strip("; "))
        return not failed and not plan.held

    async def _report(self, key: Key, reason: str, message: str) -> None:
        """As a condition of the DNSRecordSet; nothing is written when it says so already."""
        try:
            stored = await self._client.get(DNS_RECORD_SETS, key.name, namespace=key.namespace)
            status = _status(stored, reason, message[:MOST_WORDS])
            if status != stored.get("status"):
                await self._client.patch(
                    DNS_RECORD_SETS, key.name, {"status": status}, namespace=key.namespace, subresource="status"
                )
        except NotFound:
            pass  # without names there is nothing to tell of


def _status(stored: Object, reason: str, message: str) -> Object:
    before = stored.get("status") or {}
    present: Object = next((one for one in before.get("conditions") or () if one["type"] == PUBLISHED), {})
    value = "False" if reason or message else "True"
    wanted = {"type": PUBLISHED, "status": value, "reason": reason or ("Held" if message else "InZone"),
              "message": message or "the zone has these names"}  # fmt: skip
    now = format_time(dt.datetime.now(dt.UTC))
    since = present.get("lastTransitionTime", now) if present.get("status") == value else now
    return {**before, "conditions": [{**wanted, "lastTransitionTime": since}]}
