"""The stores alone: etcd with and without TLS, and the embedded one; writes, reads, pages, a watch, and their cost."""

import asyncio
import datetime as dt
import itertools
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from cluster.pki.authority import make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair
from cluster.store.backend import Backend, compare_mod, get, put, range_end
from cluster.store.embedded.address import Address
from cluster.store.embedded.store import EmbeddedStore
from cluster.store.etcd_client import EtcdClient, EtcdTLS
from tests.bench.control_plane import OBJECT_BYTES, etcd
from tests.bench.figures import Figures

AT_ONCE = 64
SECONDS = 2.0
VALUE = b"x" * OBJECT_BYTES
PREFIX = b"/bench/"


def measure(figures: Figures) -> None:
    with etcd() as url:
        uvloop.run(_all(figures, "etcd, plain", EtcdClient([url])))
    with TemporaryDirectory() as name:
        identity = Path(name)
        _write_identity(identity)
        tls = EtcdTLS(*(str(identity / part) for part in ("ca.crt", "client.crt", "client.key")))
        with etcd(identity) as url:
            uvloop.run(_all(figures, "etcd, TLS", EtcdClient([url], tls)))
    with TemporaryDirectory() as name:
        uvloop.run(_all(figures, "embedded, file", EmbeddedStore(Address(Path(name, "store.db")))))
    uvloop.run(_all(figures, "embedded, memory", EmbeddedStore(Address(None))))


def _write_identity(directory: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    authority = make_authority("bench", now=now)
    (directory / "ca.crt").write_bytes(authority.certificate_pem)
    for name in ("server", "client"):
        content = CertificateContent(name, ip_addresses=("127.0.0.1",), usages=(Usage.SERVER, Usage.CLIENT))
        pair = issue_key_pair(authority, content, now=now)
        (directory / f"{name}.crt").write_bytes(pair.certificate_pem)
        (directory / f"{name}.key").write_bytes(pair.key_pem)


async def _all(figures: Figures, how: str, client: Backend) -> None:
    numbers = itertools.count()

    async def create() -> None:
        key = PREFIX + b"%08d" % next(numbers)
        await client.commit([compare_mod(key, 0)], [put(key, VALUE)], [get(key)])

    async def read() -> None:
        await client.range(PREFIX + b"%08d" % (next(numbers) % 1000))

    async def revision() -> None:
        await client.current_revision()

    await _rate(figures, f"{how}: create txn, 2 KB", create)
    await _rate(figures, f"{how}: get, 2 KB", read)
    await _rate(figures, f"{how}: revision", revision)
    await _one_at_a_time(figures, f"{how}: get, one at a time", read)
    written = await _pages(figures, f"{how}: pages of 2000 x 2 KB", client)
    await _watch(figures, f"{how}: watch", client, written)
    await client.close()


async def _rate(figures: Figures, name: str, call: Callable[[], Awaitable[None]]) -> None:
    done, ends = 0, time.perf_counter() + SECONDS

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await call()
            done += 1

    began, cpu = time.perf_counter(), _cpu_seconds()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    figures.add(name, done / (time.perf_counter() - began), "/s")
    figures.add(f"{name}: CPU of the client", 1e6 * (_cpu_seconds() - cpu) / done, "us each")


async def _one_at_a_time(figures: Figures, name: str, call: Callable[[], Awaitable[None]]) -> None:
    began = time.perf_counter()
    for _ in range(500):
        await call()
    figures.add(name, 1e3 * (time.perf_counter() - began) / 500, "ms each")


async def _pages(figures: Figures, name: str, client: Backend) -> int:
    """Returns how many objects there are."""
    key, read = PREFIX, 0
    began, cpu = time.perf_counter(), _cpu_seconds()
    while True:
        page = await client.range(key, range_end(PREFIX), limit=2000)
        read += len(page.kvs)
        if not page.more:
            break
        key = page.kvs[-1].key + b"\0"
    figures.add(name, read / (time.perf_counter() - began), "objects/s")
    figures.add(f"{name}: CPU of the client", 1e6 * (_cpu_seconds() - cpu) / read, "us each")
    return read


async def _watch(figures: Figures, name: str, client: Backend, written: int) -> None:
    """History first, as after a restart: etcd sends it as fast as it can."""
    seen = 0
    began, cpu = time.perf_counter(), _cpu_seconds()
    async for answer in client.watch(PREFIX, range_end(PREFIX), 2, lambda _: None):
        seen += len(answer.events)
        if seen >= written:
            break
    figures.add(name, seen / (time.perf_counter() - began), "events/s")
    figures.add(f"{name}: CPU of the client", 1e6 * (_cpu_seconds() - cpu) / seen, "us each")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
