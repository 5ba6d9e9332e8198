"""Several apiservers on one etcd: each old state is forgotten once, by one of them."""

import asyncio
import logging

import pytest

from cluster.store import backend, compaction
from cluster.store.backend import StoreError
from cluster.store.etcd_client import EtcdClient


async def test_servers_agree_who_compacts(etcd_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, compaction.__name__)
    clients = [EtcdClient([etcd_url]) for _ in range(3)]
    first = await clients[0].current_revision()
    servers = [asyncio.create_task(compaction.run(client, 0.05)) for client in clients]

    async def is_forgotten(revision: int) -> bool:
        try:
            await clients[0].range(b"/registry/", revision=revision)
        except StoreError as fault:
            return fault.compacted
        return False

    try:
        async with asyncio.timeout(20):
            while not await is_forgotten(first) or len(_compacted(caplog)) < 4:
                await clients[0].txn([], [backend.put(b"/compaction-test", b"x")])
                await asyncio.sleep(0.01)
    finally:
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)
        for client in clients:
            await client.close()

    revisions = _compacted(caplog)
    assert revisions == sorted(set(revisions)), "each revision once, in order"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def _compacted(caplog: pytest.LogCaptureFixture) -> list[int]:
    told = [record.getMessage() for record in caplog.records if record.name == compaction.__name__]
    return [int(text.rpartition(" ")[2]) for text in told if text.startswith("compacted to revision ")]
