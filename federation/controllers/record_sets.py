"""
Writes DNSRecordSets: what a Service's names answer, one object a Service, called as the Service is.

Where a zone elsewhere follows them, a finalizer keeps an object until the zone is without its names: a namespace that
ends would else take along the only knowledge of what has to be removed there.
Called by   federation.controllers.publish_dns.
"""

import logging

from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import NotFound
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.recordsets import RecordSet, to_spec

log = logging.getLogger(__name__)

FINALIZER = "federation.hanse.io/zone"


class RecordSets:
    """
    Args:
        in_zone: whether a zone elsewhere follows.
    """

    def __init__(self, client: ApiClient, *, in_zone: bool) -> None:
        self._client = client
        self._in_zone = in_zone

    async def store(self, key: Key, records: tuple[RecordSet, ...], stored: Object | None) -> None:
        """Write it if it differs from what is stored; without records there is none."""
        if not records:
            if stored is not None:
                await self.let_go(key, stored)
                await self._delete(key)
            return
        spec = to_spec(records)
        finalizers = [FINALIZER] if self._in_zone else []
        if stored is None:
            metadata = {"name": key.name, "namespace": key.namespace, "finalizers": finalizers}
            obj = {"apiVersion": DNS_RECORD_SETS.api_version, "kind": "DNSRecordSet"}
            await self._client.create(DNS_RECORD_SETS, {**obj, "metadata": metadata, "spec": spec})
        elif stored["spec"] != spec or (finalizers and not _is_kept(stored)):
            metadata = {**stored["metadata"]}
            if finalizers:
                metadata["finalizers"] = list({*(metadata.get("finalizers") or ()), *finalizers})
            await self._client.update(DNS_RECORD_SETS, {**stored, "metadata": metadata, "spec": spec})

    async def let_go(self, key: Key, stored: Object) -> None:
        """Its names are in no zone any more: it may be deleted."""
        if _is_kept(stored):
            rest = [one for one in stored["metadata"]["finalizers"] if one != FINALIZER]
            patch = {"metadata": {"finalizers": rest, "uid": stored["metadata"]["uid"]}}
            try:
                await self._client.patch(DNS_RECORD_SETS, key.name, patch, namespace=key.namespace)
            except NotFound:
                log.debug("the DNSRecordSet %s is gone already", key)

    async def _delete(self, key: Key) -> None:
        try:
            await self._client.delete(DNS_RECORD_SETS, key.name, namespace=key.namespace)
        except NotFound:
            log.debug("the DNSRecordSet %s is gone already", key)


def _is_kept(stored: Object) -> bool:
    return FINALIZER in (stored["metadata"].get("finalizers") or ())
