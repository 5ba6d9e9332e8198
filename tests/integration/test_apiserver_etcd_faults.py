"""What clients notice when members of etcd die, hang, or compact: nothing lost, nothing twice, a short pause."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster.apiserver.app import Apiserver
from cluster.apiserver.options import Options
from cluster.store.object_store import ObjectStore
from tests.integration.conftest import TOKEN, etcd_program, server_options
from tests.integration.older_etcd import older_etcd
from tests.ports import free_ports


@dataclass
class Member:
    name: str
    url: str
    argv: list[str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.argv, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@dataclass
class Etcd:
    members: list[Member]

    @property
    def urls(self) -> str:
        return ",".join(member.url for member in self.members)

    async def leader(self, session: aiohttp.ClientSession) -> Member:
        """Raises when nobody leads within 10 s."""
        async with asyncio.timeout(10):
            while True:
                for member in self.members:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        status = await self._status(session, member)
                        if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                            return member
                await asyncio.sleep(0.1)

    async def versions(self, session: aiohttp.ClientSession) -> set[str]:
        return {(await self._status(session, member))["version"] for member in self.members}

    @staticmethod
    async def _status(session: aiohttp.ClientSession, member: Member) -> dict[str, Any]:
        url, patience = member.url + "/v3/maintenance/status", aiohttp.ClientTimeout(total=1)
        async with session.post(url, data=b"{}", timeout=patience) as answer:
            found: dict[str, Any] = json.loads(await answer.read())
            return found


@pytest.fixture
async def etcd() -> AsyncIterator[Etcd]:
    """Three members in memory: what is tried is their absence, not their disks."""
    program = etcd_program()
    directory = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp") / f"etcd-faults-{os.getpid()}"
    ports = free_ports(6)
    names = ("a", "b", "c")
    peers = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports[:3], strict=True)}
    cluster = ",".join(f"{name}={url}" for name, url in peers.items())
    members = []
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    for name, port in zip(names, ports[3:], strict=True):
        url = f"http://127.0.0.1:{port}"
        argv = [
            program, f"--name={name}", f"--data-dir={directory / name}", f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}", f"--listen-peer-urls={peers[name]}",
            f"--initial-advertise-peer-urls={peers[name]}", f"--initial-cluster={cluster}", "--log-level=error",
        ]  # fmt: skip
        members.append(Member(name, url, argv, directory / f"{name}.log"))
    try:
        for member in members:
            await member.start()
        yield Etcd(members)
    finally:
        for member in members:
            if member.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    member.signal(signal.SIGCONT)
                await member.kill()
        await asyncio.to_thread(shutil.rmtree, directory)


@contextlib.asynccontextmanager
async def serving(options: Options) -> AsyncIterator[Apiserver]:
    server = Apiserver(options)
    async with server.run():
        yield server


@contextlib.asynccontextmanager
async def client(server: Apiserver) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=server.serving[0])
    base = f"https://127.0.0.1:{server.port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(base_url=base, connector=connector, headers=headers) as session:
        yield session


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Traffic:
    """Writes without pause, and a watch that must see each of them once and in order."""

    session: aiohttp.ClientSession
    acknowledged: set[str] = field(default_factory=set)
    attempted: int = 0
    seen: list[str] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    seen_at: list[float] = field(default_factory=list)
    ended: int = 0
    """How often the watch had to be opened again."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _enough: bool = False

    async def begin(self) -> None:
        async with self.session.get(CONFIG_MAPS) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch(int(version)))]

    async def _write(self) -> None:
        while not self._enough:
            self.attempted += 1
            name = f"n{self.attempted}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            async with self.session.post(CONFIG_MAPS, json=body) as answer:
                await answer.read()
                if answer.status == 201:
                    self.acknowledged.add(name)
            await asyncio.sleep(0.02)

    async def _watch(self, version: int) -> None:
        while True:
            path = f"{CONFIG_MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=300"
            async with self.session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    assert event["type"] == "ADDED", event
                    version = int(event["object"]["metadata"]["resourceVersion"])
                    self.seen.append(event["object"]["metadata"]["name"])
                    self.revisions.append(version)
                    self.seen_at.append(time.monotonic())
            self.ended += 1

    async def until_news(self, since: float, seconds: float) -> float:
        """Waits for an event after `since`; returns how long after it came."""
        async with asyncio.timeout(seconds):
            while not self.seen_at or self.seen_at[-1] <= since:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return next(at for at in self.seen_at if at > since) - since

    async def end_and_check(self) -> None:
        self._enough = True
        await self._tasks[0]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while not self.acknowledged <= set(self.seen):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        self._tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[1]
        assert self.revisions == sorted(set(self.revisions)), "events came twice or out of order"
        assert len(self.seen) == len(set(self.seen)), "events came twice"
        async with self.session.get(CONFIG_MAPS) as answer:
            stored = {item["metadata"]["name"] for item in (await answer.json())["items"]}
        assert self.acknowledged <= stored, "acknowledged writes are lost"
        assert {name for name in stored if name.startswith("n")} == set(self.seen), "the watch has a gap"


async def test_each_member_in_turn_can_die_and_come_back_under_writes_and_a_watch(etcd: Etcd, tmp_path: Path) -> None:
    async with serving(server_options(etcd.urls, tmp_path)) as server, client(server) as session:
        traffic = Traffic(session)
        await traffic.begin()
        await traffic.until_news(time.monotonic(), 5)
        for member in etcd.members:
            await asyncio.sleep(0.5)
            led = await etcd.leader(session) is member
            await member.kill()
            pause = await traffic.until_news(time.monotonic(), 15)
            # Without a leader the others elect one after one to two seconds; what it had taken on is sent again.
            assert pause < (6.0 if led else 1.5)
            await asyncio.sleep(1)
            await member.start()
            await etcd.leader(session)
            await asyncio.sleep(1)
        await traffic.end_and_check()
        assert traffic.ended == 0, "the client's watch had to begin again"


@pytest.mark.skipif(not os.environ.get("HANSE_LONG"), reason="fetches an older etcd: `make soak` runs it")
async def test_data_of_an_older_etcd_are_taken_over_member_by_member_under_load(etcd: Etcd, tmp_path: Path) -> None:
    newer = etcd.members[0].argv[0]
    older = await asyncio.to_thread(older_etcd)
    for member in etcd.members:
        await member.kill()
        await asyncio.to_thread(shutil.rmtree, member.log.parent / member.name)
        member.argv[0] = older
    for member in etcd.members:
        await member.start()
    async with serving(server_options(etcd.urls, tmp_path)) as server, client(server) as session:
        await etcd.leader(session)
        assert await etcd.versions(session) == {"3.4.23"}
        traffic = Traffic(session)
        await traffic.begin()
        await traffic.until_news(time.monotonic(), 5)
        for member in etcd.members:
            await member.kill()
            member.argv[0] = newer
            await member.start()
            await etcd.leader(session)
            await traffic.until_news(time.monotonic(), 15)
            await asyncio.sleep(1)
        await traffic.end_and_check()
        assert traffic.ended == 0, "the client's watch had to begin again"
        assert "3.4.23" not in await etcd.versions(session)
        # The way back is a snapshot: an older etcd does not open what the newer one has written.
        await etcd.members[0].kill()
        etcd.members[0].argv[0] = older
        await etcd.members[0].start()
        assert etcd.members[0].process is not None
        async with asyncio.timeout(20):
            assert await etcd.members[0].process.wait() != 0


async def test_a_leader_that_hangs_is_left_for_the_others(etcd: Etcd, tmp_path: Path) -> None:
    async with serving(server_options(etcd.urls, tmp_path)) as server, client(server) as session:
        leader = await etcd.leader(session)
        # The server talks to this very member.
        ordered = [leader.url, *(member.url for member in etcd.members if member is not leader)]
        async with serving(server_options(",".join(ordered), tmp_path)) as second, client(second) as direct:
            traffic = Traffic(direct)
            await traffic.begin()
            await traffic.until_news(time.monotonic(), 5)
            leader.signal(signal.SIGSTOP)
            began = time.monotonic()
            await asyncio.sleep(1)
            pause = await traffic.until_news(began + 0.5, 25)
            await asyncio.sleep(1)
            leader.signal(signal.SIGCONT)
            await asyncio.sleep(1)
            await traffic.end_and_check()
            assert pause < 12.0


async def test_an_open_watch_survives_compaction(etcd: Etcd, tmp_path: Path) -> None:
    async with serving(server_options(etcd.urls, tmp_path)) as server, client(server) as session:
        traffic = Traffic(session)
        await traffic.begin()
        for _ in range(3):
            await traffic.until_news(time.monotonic(), 5)
            await server.etcd.compact(await server.etcd.current_revision())
        await traffic.end_and_check()
        assert traffic.ended == 0


async def test_a_new_client_certificate_for_etcd_costs_no_request(etcd: Etcd, tmp_path: Path) -> None:
    async with serving(server_options(etcd.urls, tmp_path)) as server, client(server) as session:
        traffic = Traffic(session)
        await traffic.begin()
        for _ in range(5):
            await traffic.until_news(time.monotonic(), 5)
            await server.etcd.use_new_certificate()
        await traffic.end_and_check()
        assert traffic.attempted == len(traffic.acknowledged)
        assert traffic.ended == 0


async def test_a_server_with_many_watches_and_idle_connections_stops_soon(etcd: Etcd, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        running = serving(server_options(etcd.urls, tmp_path))
        server = await running.__aenter__()
        session = await stack.enter_async_context(client(server))
        path, patience = f"{CONFIG_MAPS}?watch=1&timeoutSeconds=300", aiohttp.ClientTimeout(total=None)
        watches = [await stack.enter_async_context(session.get(path, timeout=patience)) for _ in range(50)]
        others = [await stack.enter_async_context(client(server)) for _ in range(10)]
        for other in others:
            async with other.get("/version") as answer:
                await answer.read()
        began = time.monotonic()
        await running.__aexit__(None, None, None)
        assert time.monotonic() - began < 2.0
        for watch in watches:
            await watch.read()  # each ends as a whole answer does, not by a broken connection


async def test_three_servers_may_start_at_once_and_a_dead_one_leaves_the_endpoints(etcd: Etcd, tmp_path: Path) -> None:
    async def options(number: int) -> Options:
        directory = tmp_path / str(number)
        await asyncio.to_thread(directory.mkdir)
        return server_options(
            etcd.urls, directory, "--endpoint-reconciler-type=lease", f"--advertise-address=192.0.2.{number}"
        )

    async def addresses(session: aiohttp.ClientSession) -> list[str]:
        async with session.get("/api/v1/namespaces/default/endpoints/kubernetes") as answer:
            found = await answer.json()
        return [address["ip"] for subset in found.get("subsets") or [] for address in subset["addresses"]]

    async def until(session: aiohttp.ClientSession, wanted: list[str], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while await addresses(session) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async with contextlib.AsyncExitStack() as stack:
        third = await options(3)
        doomed = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cluster.apiserver", f"--etcd-servers={etcd.urls}", "--secure-port=0",
            "--bind-address=127.0.0.1", f"--cert-dir={third.cert_dir}", f"--token-auth-file={third.token_auth_file}",
            "--authorization-mode=RBAC", f"--advertise-address={third.advertise_address}",
        )  # fmt: skip
        stack.callback(lambda: doomed.kill() if doomed.returncode is None else None)
        starting = [serving(await options(number)) for number in (1, 2)]
        servers = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        session = await stack.enter_async_context(client(servers[0]))
        everybody = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        await until(session, everybody, 15)
        async with session.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin") as answer:
            assert answer.status == 200
        # It dies without a word: nobody renews its key, and that the key is gone is noticed at once.
        doomed.kill()
        await doomed.wait()
        await until(session, everybody[:2], 15)


async def test_a_key_that_nobody_renews_goes_with_its_lease(etcd: Etcd, tmp_path: Path) -> None:
    async with serving(server_options(etcd.urls, tmp_path)) as server:
        store = ObjectStore(server.etcd)
        await store.keep("trial", "192.0.2.9", 2)
        assert await store.names("trial") == ["192.0.2.9"]
        async with asyncio.timeout(10):
            while await store.names("trial"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
