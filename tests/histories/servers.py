"""
What a history runs against: one etcd and several apiservers, as processes that can be killed, paused and started again.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.integration.conftest import TOKEN, etcd_program
from tests.ports import free_ports

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PREFIX = "/registry"


@dataclass
class Server:
    """A process and how to start it again."""

    name: str
    url: str
    argv: list[str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.argv, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()


@dataclass
class Servers:
    etcd: Server
    apiservers: list[Server]
    directory: Path
    tls: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def context(self, server: Server) -> ssl.SSLContext:
        if server.name not in self.tls:
            self.tls[server.name] = ssl.create_default_context(cafile=self.directory / server.name / "apiserver.crt")
        return self.tls[server.name]

    async def wait_ready(self, server: Server, seconds: float = 30) -> None:
        """Raises TimeoutError, RuntimeError when the process ended."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession(headers=HEADERS) as session:
            while True:
                if server.process is not None and server.process.returncode is not None:
                    raise RuntimeError(f"{server.name} ended: {server.log.read_text()[-1000:]}")
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    url = f"{server.url}/readyz"
                    async with session.get(url, ssl=self.context(server)) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(apiservers: int, bug: str = "") -> AsyncIterator[Servers]:
    """`bug` is planted in every apiserver; see `planted`."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="history-", dir=shm))
    ports = free_ports(2 + apiservers)
    servers = Servers(_etcd(directory, *ports[:2]), [], directory)
    servers.apiservers = [_apiserver(servers, at, port, bug) for at, port in enumerate(ports[2:])]
    try:
        await servers.etcd.start()
        for server in servers.apiservers:
            await server.start()
        for server in servers.apiservers:
            await servers.wait_ready(server)
        yield servers
    finally:
        for server in (*servers.apiservers, servers.etcd):
            await server.kill()
        shutil.rmtree(directory)


def _etcd(directory: Path, client: int, peer: int) -> Server:
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    argv = [
        etcd_program(), f"--data-dir={directory / 'etcd'}", f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}", f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}", f"--initial-cluster=default={peer_url}", "--log-level=error",
    ]  # fmt: skip
    return Server("etcd", url, argv, directory / "etcd.log")


def _apiserver(servers: Servers, at: int, port: int, bug: str) -> Server:
    name = f"apiserver-{at}"
    own = servers.directory / name
    own.mkdir()
    tokens = servers.directory / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
    module = ["tests.histories.planted", bug] if bug else ["cluster.apiserver"]
    argv = [
        sys.executable, "-m", *module, f"--etcd-servers={servers.etcd.url}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", f"--cert-dir={own}", f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none", "--etcd-compaction-interval=0s",
    ]  # fmt: skip
    return Server(name, f"https://127.0.0.1:{port}", argv, servers.directory / f"{name}.log")
