"""Rows 17, 18 and 19: how soon answers follow endpoints and clusters, also behind a cache; and a shared zone."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message

from tests.bench.figures import Figures
from tests.federations.names import WEB, Names, address, named_world
from tests.federations.proxy import PASS, SWALLOW
from tests.integration.interleaved_zone import interleaved
from tests.integration.name_servers import missing, name_server
from tests.ports import free_port

A, B = address(0), address(1)
TTL = 5
CACHE = """
options {{ directory "{where}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{where}/pid"; session-keyfile "{where}/session.key"; recursion yes; dnssec-validation no; notify no;
  empty-zones-enable no; }};
controls {{ }};
zone "example.com" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {ours}; }}; }};
"""


async def endpoints(figures: Figures) -> None:
    """17: from the last endpoint's end, and from a cluster's, to the name server's answer."""
    rounds, losses = (1000, 10) if figures.full else (100, 2)
    with tempfile.TemporaryDirectory() as home:
        async with named_world(Path(home), 2) as names:
            await names.policy(failbackSeconds=0, ttl=TTL)
            await _settled(names)
            took = []
            for _ in range(rounds):
                took.append(await _timed(names, B, lambda: names.endpoints("m0", ready=False)))
                names.endpoints("m0", ready=True)
                await names.until([A, B])
            figures.add(f"federation 17: last endpoint gone to answer, p50 of {rounds}", sorted(took)[rounds // 2], "s")
            figures.add("federation 17: the same, p99", sorted(took)[rounds * 99 // 100], "s")
            lost = []
            for _ in range(losses):
                lost.append(await _timed(names, B, lambda: names.world.to_members["m0"].turn(SWALLOW)))
                names.world.to_members["m0"].turn(PASS)
                await names.until([A, B], seconds=60)
            figures.add(f"federation 17: cluster silent to answer, longest of {losses}", max(lost), "s")


async def clients(figures: Figures) -> None:
    """18: the same for a client behind a resolver that caches, TTL 5."""
    if missing("bind"):
        return
    rounds, losses = (60, 10) if figures.full else (5, 1)
    with tempfile.TemporaryDirectory() as home:
        async with named_world(Path(home), 2) as names:
            await names.policy(failbackSeconds=0, ttl=TTL)
            await _settled(names)
            (Path(home) / "cache").mkdir()
            async with _cache(Path(home) / "cache", names.port) as port:
                behind = Names(names.world, port)
                took, lost = [], []
                for _ in range(rounds):
                    await behind.until([A, B])
                    took.append(await _timed(behind, B, lambda: names.endpoints("m0", ready=False)))
                    names.endpoints("m0", ready=True)
                for _ in range(losses):
                    await behind.until([A, B], seconds=60)
                    lost.append(await _timed(behind, B, lambda: names.world.to_members["m0"].turn(SWALLOW)))
                    names.world.to_members["m0"].turn(PASS)
            figures.add(f"federation 18: pods gone, seen by a client, longest of {rounds}", max(took), "s")
            figures.add(f"federation 18: cluster gone, seen by a client, longest of {losses}", max(lost), "s")
            await names.until([A, B], seconds=60)
            await names.policy(ttl=TTL)
            figures.add("federation 18: changes while a member flaps for 20 s", await _changes(names), "")


async def zone(figures: Figures) -> None:
    """19: a zone of two federations and a person."""
    if missing("bind"):
        return
    changes = 10_000 if figures.full else 500
    with tempfile.TemporaryDirectory() as where:
        async with name_server("bind", Path(where)) as port:
            started = time.perf_counter()
            counted = await interleaved(port, changes, seed=19)
            figures.add("federation 19: changes a second", counted.changes / (time.perf_counter() - started), "1/s")
    figures.add(f"federation 19: faults of {changes} changes, {counted.crashes} crashes", len(counted.faults), "")
    figures.add("federation 19: looks that found a name, all of", counted.looks, "")


async def _settled(names: Names) -> None:
    async with asyncio.timeout(20):
        while (await names.reply())[1] != TTL:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _timed(names: Names, wanted: str, happens: Callable[[], None]) -> float:
    started = time.perf_counter()
    happens()
    await names.until([wanted], seconds=60)
    return time.perf_counter() - started


async def _changes(names: Names) -> int:
    """Of the answer, while endpoints come and go every half second."""
    seen: list[list[str]] = []
    until = time.monotonic() + 20
    for at in itertools.count():
        if time.monotonic() > until:
            return len(seen) - 1
        names.endpoints("m0", ready=bool(at % 2))
        for _ in range(10):
            found = await names.ask()
            if not seen or found != seen[-1]:
                seen.append(found)
            await asyncio.sleep(0.05)
    raise AssertionError


@asynccontextmanager
async def _cache(where: Path, ours: int) -> AsyncIterator[int]:
    """A BIND that forwards to us and keeps answers for their TTL."""
    port = free_port()
    (where / "conf").write_text(CACHE.format(where=where, port=port, ours=ours))
    with (where / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "/usr/sbin/named", "-g", "-n", "1", "-c", str(where / "conf"), stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(20):
            while not await _answers(port):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        return bool((await dns.asyncquery.udp(dns.message.make_query(WEB, "A"), "127.0.0.1", 1, port)).answer)
    except (OSError, dns.exception.DNSException):
        return False
