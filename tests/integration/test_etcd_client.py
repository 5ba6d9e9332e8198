"""
The store's client against real etcd servers: TLS with client certificates, large pages, long watches, restarts.

Debian 12's 3.4 is tried too when HANSE_ETCD_34 names its program: clusters may be adopted from it.
"""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.pki.authority import make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair
from cluster.store.backend import compare_mod, get, put, range_end
from cluster.store.etcd_client import EtcdClient, EtcdError, EtcdTLS
from cluster.store.watch_cache import WatchCache
from tests.integration.conftest import etcd_program
from tests.ports import free_ports


@dataclass
class Server:
    argv: list[str]
    url: str
    identity: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.identity / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.argv, stdout=log, stderr=log)

    async def stop(self, *, kill: bool = False) -> None:
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        await self.process.wait()

    def client(self, name: str = "client") -> EtcdClient:
        return EtcdClient(
            [self.url], EtcdTLS(*(str(self.identity / f) for f in ("ca.crt", f"{name}.crt", f"{name}.key")))
        )


@pytest.fixture(params=["default", "3.4"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    program = etcd_program() if request.param == "default" else os.environ.get("HANSE_ETCD_34", "")
    if not program:
        pytest.skip("no etcd 3.4; name its program in HANSE_ETCD_34 to try the client with it")
    now = dt.datetime.now(dt.UTC)
    authority, stranger = (make_authority(name, now=now) for name in ("etcd-ca", "another-ca"))
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    for name, signer in (("server", authority), ("client", authority), ("stranger", stranger)):
        content = CertificateContent(name, ip_addresses=("127.0.0.1",), usages=(Usage.SERVER, Usage.CLIENT))
        pair = issue_key_pair(signer, content, now=now)
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate_pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
    client, peer = free_ports(2)
    url, peer_url = f"https://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    argv = [
        program, f"--data-dir={tmp_path / 'data'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}", "--log-level=error", f"--trusted-ca-file={tmp_path / 'ca.crt'}",
        "--client-cert-auth", f"--cert-file={tmp_path / 'server.crt'}", f"--key-file={tmp_path / 'server.key'}",
    ]  # fmt: skip
    running = Server(argv, url, tmp_path)
    await running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.returncode is None:
            await running.stop(kill=True)


async def until_served(client: EtcdClient) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await client.status()
            except EtcdError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_writes_reads_and_a_watch_over_tls(server: Server) -> None:
    client = server.client()
    await until_served(client)
    big = bytes(1_000_000)
    keys = [b"/t/%03d" % at for at in range(40)]
    answers = await asyncio.gather(*(client.commit([compare_mod(key, 0)], [put(key, big)], [get(key)]) for key in keys))
    assert all(answer.succeeded for answer, _ in answers)

    taken, _ = await client.commit([compare_mod(keys[0], 0)], [put(keys[0], b"")], [get(keys[0])])
    assert not taken.succeeded
    assert taken.responses[0].response_range.kvs[0].value == big

    # 40 MB in one message, and again through a watch: both above every window of flow control.
    page = await client.range(b"/t/", range_end(b"/t/"))
    assert [kv.key for kv in page.kvs] == keys
    assert all(kv.value == big for kv in page.kvs)
    seen, revisions = 0, []
    async for answer in client.watch(b"/t/", range_end(b"/t/"), 2, lambda _: None):
        revisions += [event.kv.mod_revision for event in answer.events]
        seen += len(answer.events)
        if seen == len(keys):
            break
    assert revisions == sorted(revisions)

    await client.compact(await client.current_revision())
    with pytest.raises(EtcdError) as raised:
        async for _ in client.watch(b"/t/", range_end(b"/t/"), 2, lambda _: None):
            pass
    assert raised.value.compacted
    with pytest.raises(EtcdError) as raised:
        await client.range(b"/t/", revision=3)
    assert raised.value.compacted
    await client.close()


async def test_a_stranger_is_not_served_and_told_why(server: Server) -> None:
    known = server.client()
    await until_served(known)
    await known.close()

    client = server.client("stranger")
    with pytest.raises(EtcdError) as raised:
        await client.txn([], [put(b"a", b"b")])
    assert not raised.value.ambiguous
    assert "UNKNOWN_CA" in str(raised.value) or "CERTIFICATE" in str(raised.value)
    await client.close()


async def test_a_restart_is_survived_by_calls_and_by_the_cache(server: Server) -> None:
    client = server.client()
    await until_served(client)
    cache = WatchCache(client, prefix="/t/")
    things = cache.register("things")
    running = asyncio.create_task(cache.run())
    await cache.wait_ready()
    value = b'{"kind":"Thing","apiVersion":"v1","metadata":{"name":"%s"}}'
    await client.txn([], [put(b"/t/things/a", value % b"a")])
    await cache.catch_up()
    assert things.get("", "a") is not None
    for kill, name in ((False, b"b"), (True, b"c")):
        await server.stop(kill=kill)
        with pytest.raises(EtcdError) as raised:
            await client.txn([], [put(b"/t/things/lost", value % b"lost")])
        assert not raised.value.ambiguous
        await server.start()
        await until_served(client)
        await client.txn([], [put(b"/t/things/" + name, value % name)])
        async with asyncio.timeout(10):
            while things.get("", name.decode()) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    # Keys outside the cache's prefix move the store's revision; a consistent read waits for exactly that one.
    await client.txn([], [put(b"/elsewhere", b"")])
    assert await cache.catch_up() >= await client.current_revision()
    assert sorted(entry.name for entry in things.entries()) == ["a", "b", "c"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await client.close()


async def test_a_watch_without_events_stays_welcome(etcd_url: str) -> None:
    """It is pinged at the pace that etcd allows: three pings that come too soon end a connection."""
    client = EtcdClient([etcd_url])
    opened = asyncio.Event()

    async def watch() -> None:
        async for answer in client.watch(b"/t/", range_end(b"/t/"), 0, lambda _: None):
            if answer.created:
                opened.set()

    task = asyncio.create_task(watch())
    await opened.wait()
    await asyncio.sleep(19)
    assert not task.done()
    assert await client.current_revision() > 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.close()
