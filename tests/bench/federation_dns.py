"""The federation's name server with 10,000 names, and signed updates of a real BIND."""

import asyncio
import multiprocessing
import pathlib
import random
import socket
import tempfile
import time
from multiprocessing.connection import Connection

import uvloop

from cluster.dns.names import encode_name
from cluster.dns.server import DnsServer
from cluster.dns.wire import Type, build_query
from cluster.machinery.objects import Key
from federation.dns.key_files import TsigSecret
from federation.dns.plan import Change
from federation.dns.providers.followers import Server
from federation.dns.providers.rfc2136 import Rfc2136Provider, Rfc2136Settings
from federation.dns.recordsets import RecordSet, Target
from federation.dns_server.rate_limit import RateLimit
from federation.dns_server.responder import FederationResponder
from federation.dns_server.zone import FederationZone
from tests.bench.figures import Figures, process_cpu_seconds
from tests.integration.name_servers import SECRET, ZONE, missing, name_server

NAMES = 10_000
QUESTIONS = 150_000
WINDOW = 32
UPDATES = 500


def measure(figures: Figures) -> None:
    _queries(figures)
    if missing("bind"):
        return
    with tempfile.TemporaryDirectory() as where:
        asyncio.run(_updates(figures, pathlib.Path(where)))


def _record(name: str, address: str) -> RecordSet:
    return RecordSet(name, "A", 5, (Target(address),))


def _filled() -> FederationZone:
    zone = FederationZone(ZONE, {f"ns1.{ZONE}": ["127.0.0.1"]})
    zone.synced = True
    for index in range(NAMES):
        zone.put(Key("shop", f"s{index}"), [_record(f"s{index}.shop.fed.svc.{ZONE}", "192.0.2.1")])
    return zone


def _serve(told: Connection) -> None:
    async def serve() -> None:
        zone = _filled()
        async with DnsServer(FederationResponder(zone, RateLimit(0)), "127.0.0.1", 0) as server:
            told.send(server.port)
            loop = asyncio.get_running_loop()
            while (address := await loop.run_in_executor(None, told.recv)) is not None:
                zone.put(Key("shop", "s0"), [_record(f"s0.shop.fed.svc.{ZONE}", address)])

    uvloop.run(serve())


def _queries(figures: Figures) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,))
    server.start()
    port = ours.recv()
    names = [encode_name(f"s{index}.shop.fed.svc.{ZONE}") for index in range(NAMES)]
    packets = [build_query(index & 0xFFFF, name, Type.A) for index, name in enumerate(names)]
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(2)
        _ask(client, packets)  # compiled from here on
        random.Random(1).shuffle(packets)
        started, before = time.perf_counter(), process_cpu_seconds(server.pid or 0)
        took = [one for _ in range(QUESTIONS // NAMES) for one in _ask(client, packets)]
        used = process_cpu_seconds(server.pid or 0) - before
        figures.add("federation_dns_answers_per_cpu_second", QUESTIONS / max(used, 0.01), "1/s")
        figures.add("federation_dns_answers_per_second", QUESTIONS / (time.perf_counter() - started), "1/s")
        figures.add("federation_dns_answer_p99", sorted(took)[int(len(took) * 0.99)] * 1000, "ms")
        figures.add("federation_dns_change_visible_p99", _visible(client, ours, names[0]), "ms")
    ours.send(None)
    server.join()


def _ask(client: socket.socket, packets: list[bytes]) -> list[float]:
    """All of them, WINDOW at a time; seconds from the first packet of a window to each answer of it."""
    took = []
    for start in range(0, len(packets), WINDOW):
        batch = packets[start : start + WINDOW]
        began = time.perf_counter()
        for packet in batch:
            client.send(packet)
        for _ in batch:
            client.recv(512)
            took.append(time.perf_counter() - began)
    return took


def _visible(client: socket.socket, server: Connection, name: bytes) -> float:
    """Milliseconds from a change in the server's informer to the first answer that shows it, 99 of 100."""
    took = []
    query = build_query(1, name, Type.A)
    for turn in range(100):
        address = f"198.51.100.{turn}"
        started = time.perf_counter()
        server.send(address)
        while True:
            client.send(query)
            if socket.inet_aton(address) in client.recv(512):
                break
        took.append(time.perf_counter() - started)
    return sorted(took)[98] * 1000


async def _updates(figures: Figures, where: pathlib.Path) -> None:
    async with name_server("bind", where) as port:
        key = TsigSecret("fed-a", "hmac-sha256", SECRET)
        settings = Rfc2136Settings((Server("127.0.0.1", port),), ZONE, lambda: key, "a", 1)
        provider = Rfc2136Provider(settings)
        names = [f"n{index}.{ZONE}" for index in range(UPDATES)]
        changes = [Change(name, {"A": _record(name, "192.0.2.1")}, "shop/web") for name in names]
        started = time.perf_counter()
        refused = await provider.apply(changes)
        took = time.perf_counter() - started
        figures.add("federation_dns_signed_updates_per_second", (UPDATES - len(refused)) / took, "1/s")
