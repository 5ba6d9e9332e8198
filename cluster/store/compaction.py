"""
Forget old revisions every five minutes, so that etcd's database does not grow for ever.

Several apiservers agree by a compare-and-swap on one key: who writes it compacts to the revision that was written
there five minutes ago; the others wait. Key and protocol are upstream's, so both kinds of server can share a store.
"""

import asyncio
import logging

from cluster.store import backend
from cluster.store.backend import Backend, StoreError

log = logging.getLogger(__name__)

KEY = b"compact_rev_key"


async def run(client: Backend, interval: float) -> None:
    """For ever; `interval` in seconds, 0 never compacts."""
    version, revision = 0, 0
    while interval > 0:
        await asyncio.sleep(interval)
        try:
            version, revision = await _compact(client, version, revision)
        except StoreError as fault:
            log.warning("compaction is put off: %s", fault)


async def _compact(client: Backend, version: int, revision: int) -> tuple[int, int]:
    value = str(revision).encode()
    answer = await client.txn([backend.compare_version(KEY, version)], [backend.put(KEY, value)], [backend.get(KEY)])
    now = int(answer.header.revision)
    if not answer.succeeded:
        kvs = answer.responses[0].response_range.kvs
        return (int(kvs[0].version), now) if kvs else (0, now)
    if revision > 0:
        await client.compact(revision)
        log.info("compacted to revision %d", revision)
    return version + 1, now
