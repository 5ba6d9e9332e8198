"""Members of etcd come and go under writes and a watch, and who was revoked is let in by none of them."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.apiserver.options import Options
from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.phases.issue_certificates import issue_certificates
from provisioner.phases.revoke_certificates import is_revoked, revoke_host
from tests.integration.conftest import etcd_program, server_options
from tests.integration.test_apiserver_etcd_faults import Etcd, Traffic, client, etcd, serving
from tests.ports import free_ports

__all__ = ["etcd"]


def following(options: Options, file: Path, *members: str) -> Options:
    return dataclasses.replace(options, etcd_servers=members, etcd_servers_file=str(file))


def write_list(file: Path, *members: str) -> None:
    """As Ansible does it: never half a file."""
    half = file.with_suffix(".half")
    half.write_text(f"# Written by `provision`\nETCD_SERVERS={','.join(members)}\n")
    half.replace(file)


async def etcdctl(url: str, *argv: str) -> str:
    """What it says once etcd does it: members have to have been connected for five seconds before one is removed."""
    program = str(Path(etcd_program()).with_name("etcdctl"))
    async with asyncio.timeout(15):
        while True:
            process = await asyncio.create_subprocess_exec(
                program, f"--endpoints={url}", *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            said, _ = await process.communicate()
            if process.returncode == 0:
                return said.decode()
            assert b"unhealthy cluster" in said
            await asyncio.sleep(0.3)


async def test_the_only_known_member_is_removed_once_others_are_known(etcd: Etcd, tmp_path: Path) -> None:
    first, *others = etcd.members
    file = tmp_path / "etcd-servers.env"
    write_list(file, first.url)
    options = following(server_options(first.url, tmp_path), file, first.url)
    async with serving(options) as server, client(server) as session:
        traffic = Traffic(session)
        await traffic.begin()
        await traffic.until_news(time.monotonic(), 5)
        file.write_text("ETCD_SERVERS=\n")
        server.files.look()
        await traffic.until_news(time.monotonic(), 5)
        write_list(file, *(member.url for member in others))

        server.files.look()
        listed = await etcdctl(first.url, "member", "list")
        leaving = next(line.partition(",")[0] for line in listed.splitlines() if first.url in line)
        await etcdctl(others[0].url, "member", "remove", leaving)

        pause = await traffic.until_news(time.monotonic(), 15)
        await asyncio.sleep(0.5)
        await traffic.end_and_check()
        assert pause < 6.0
        assert traffic.ended == 0, "the client's watch had to begin again"


@pytest.fixture
def described() -> ClusterSpec:
    roles = frozenset({Role.ETCD, Role.CONTROL_PLANE})
    hosts = tuple(HostSpec(name=name, address="127.0.0.1", roles=roles) for name in ("stays", "dead"))
    return ClusterSpec(name="c", hosts=hosts)


@contextlib.asynccontextmanager
async def guarded_etcd(pki: Path, folder: Path) -> AsyncIterator[int]:
    """One member with TLS, as the role etcd_member starts it; its port."""
    port, peer = free_ports(2)
    own = pki / "hosts" / "stays" / "etcd"
    process = await asyncio.create_subprocess_exec(
        etcd_program(), f"--data-dir={folder}", f"--listen-client-urls=https://127.0.0.1:{port}",
        f"--advertise-client-urls=https://127.0.0.1:{port}", f"--listen-peer-urls=https://127.0.0.1:{peer}",
        "--client-cert-auth=true", f"--trusted-ca-file={pki}/etcd/ca.crt", f"--cert-file={own}/server.crt",
        f"--key-file={own}/server.key", f"--client-crl-file={pki}/etcd/ca.crl", "--peer-client-cert-auth=true",
        f"--peer-trusted-ca-file={pki}/etcd/ca.crt", f"--peer-cert-file={own}/peer.crt",
        f"--peer-key-file={own}/peer.key", f"--peer-crl-file={pki}/etcd/ca.crl", "--log-level=error",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield port
    finally:
        process.kill()
        await process.wait()


async def health(pki: Path, host: str, port: int) -> bool:
    """Whether etcd answers whoever has the host's certificate."""
    context = ssl.create_default_context(cafile=str(pki / "etcd/ca.crt"))
    stem = pki / "hosts" / host / "apiserver-etcd-client"
    context.load_cert_chain(f"{stem}.crt", f"{stem}.key")
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b"true" in answer


async def test_a_revoked_host_is_let_in_no_longer_and_nobody_restarts(described: ClusterSpec, tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    issue_certificates(described, pki, dt.datetime.now(dt.UTC))
    async with guarded_etcd(pki, tmp_path / "etcd") as port:
        async with asyncio.timeout(10):
            while not await health(pki, "stays", port):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await health(pki, "dead", port)

        assert revoke_host(pki, "dead", dt.datetime.now(dt.UTC)) == 4

        assert not await health(pki, "dead", port)
        assert await health(pki, "stays", port)
        assert is_revoked(pki, "dead")
        assert not is_revoked(pki, "stays")
        assert revoke_host(pki, "dead", dt.datetime.now(dt.UTC)) == 0
