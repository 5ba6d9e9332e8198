"""
A real etcd and a real apiserver, on loopback, for every test that wants them.

etcd is found on PATH, in $HANSE_ETCD_BIN or under /opt/hanse/current/bin; without it the tests are skipped.
"""

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from cluster.apiserver import options
from cluster.apiserver.app import Apiserver
from tests.ports import free_ports

TOKEN = "integration-token"


def etcd_program() -> str:
    """Skips the test when there is no etcd."""
    directories = [os.environ.get("HANSE_ETCD_BIN", ""), "/opt/hanse/current/bin"]
    found = shutil.which("etcd") or shutil.which("etcd", path=os.pathsep.join(d for d in directories if d))
    if found is None:
        pytest.skip("etcd is not installed; put it on PATH or name its folder in HANSE_ETCD_BIN")
    return found


@pytest.fixture(scope="module")
def etcd_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One etcd for the tests of a file, which keep apart by namespaces."""
    program = etcd_program()
    client, peer = free_ports(2)
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    directory = tmp_path_factory.mktemp("etcd")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--data-dir={directory / 'data'}", f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}", f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}", f"--initial-cluster=default={peer_url}",
                "--log-level=error", "--unsafe-no-fsync",
            ],
            stdout=log,
            stderr=log,
        )  # fmt: skip
        try:
            _wait_healthy(f"{url}/health", process)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"etcd ended with {process.returncode} before it was healthy")
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if json.load(answer).get("health") == "true":
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"etcd at {url} was not healthy within 20 s")


@dataclass(frozen=True, slots=True)
class Api:
    """A client of the server under test; answers are (HTTP status, decoded body)."""

    server: Apiserver
    session: aiohttp.ClientSession
    url: str

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": content_type} if data is not None else {}
        async with self.session.request(
            method, URL(self.url + path, encoded=True), data=data, headers={**sent, **headers}
        ) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if "json" in answer.content_type else raw.decode()

    async def namespace(self, name: str) -> str:
        """A new namespace with the ServiceAccount that pods need; returns its path prefix in core v1."""
        meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert (await self.call("POST", "/api/v1/namespaces", meta))[0] == 201
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        assert (await self.call("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account))[0] == 201
        return f"/api/v1/namespaces/{name}"


def server_options(etcd_url: str, directory: Path, *extra: str) -> options.Options:
    directory.mkdir(exist_ok=True)
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
    return options.parse(
        [
            f"--etcd-servers={etcd_url}", "--secure-port=0", "--bind-address=127.0.0.1", f"--cert-dir={directory}",
            f"--token-auth-file={tokens}", "--endpoint-reconciler-type=none",
            *([] if any("--authorization-config" in flag for flag in extra) else ["--authorization-mode=Node,RBAC"]),
            *extra,
        ]
    )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(etcd_url: str, directory: Path, *flags: str) -> AsyncIterator[Api]:
    """A server with these flags besides, and its administrator's client."""
    server = Apiserver(server_options(etcd_url, directory, *flags))
    context = ssl.create_default_context(cafile=server.serving[0])
    async with server.run():
        connector = aiohttp.TCPConnector(ssl=context)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield Api(server, session, f"https://127.0.0.1:{server.port}")
            await asyncio.sleep(0)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the server under test keeps its objects: etcd, and on BOTH_STORES' wish a file of its own."""
    if getattr(request, "param", "etcd") == "etcd":
        return str(request.getfixturevalue("etcd_url"))
    if "etcd_url" in request.fixturenames:
        pytest.skip("a store that two servers share is etcd")
    return f"embedded://{tmp_path}/store.db"


BOTH_STORES = pytest.mark.parametrize("store_url", ["etcd", "embedded"], indirect=True)
"""As a module's pytestmark: each test runs on etcd and on the embedded store."""


@pytest.fixture
async def api(store_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(store_url, tmp_path) as running:
        yield running
