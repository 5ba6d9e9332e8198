"""
An etcd, an apiserver and, if wanted, controllers: processes of their own, as a cluster has them, for foreign clients.

Used by   tests/integration/clients and tests/integration/badinput, which look at the processes from outside.
"""

import contextlib
import dataclasses
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.conftest import etcd_program
from tests.ports import free_ports

ROOT = pathlib.Path(__file__).parents[2]
TOKEN = "integration-token"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: "{ca}"}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
"""


@dataclasses.dataclass(frozen=True, slots=True)
class ControlPlane:
    """What a client needs to know, and what a test wants to watch."""

    home: pathlib.Path
    port: int
    kubeconfig: pathlib.Path
    certificate: pathlib.Path
    apiserver: "subprocess.Popen[bytes]"
    etcd_url: str

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def resident(self) -> int:
        """Bytes of memory the apiserver holds."""
        return int(psutil.Process(self.apiserver.pid).memory_info().rss)

    def cpu_seconds(self) -> float:
        """What the apiserver has worked so far; unlike a clock on the wall it does not count what others work."""
        times = psutil.Process(self.apiserver.pid).cpu_times()
        return float(times.user + times.system)

    def log(self) -> str:
        return (self.home / "apiserver.log").read_text(errors="replace")


@contextlib.contextmanager
def running(home: pathlib.Path, *services: str) -> Iterator[ControlPlane]:
    """Runs while the block runs. `services`: modules of `cluster` besides the apiserver, such as controller_manager."""
    client, peer, port = free_ports(3)
    etcd, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    _write_keys(home)
    certificate = home / "certs" / "apiserver.crt"
    config = home / "kubeconfig"
    config.write_text(KUBECONFIG.format(port=port, ca=certificate, token=TOKEN))
    python = (sys.executable, "-m")
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            process(
                home / "etcd.log", etcd_program(), f"--data-dir={home}/etcd", f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer_url}", "--log-level=error",
                f"--initial-advertise-peer-urls={peer_url}", f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
            )
        )  # fmt: skip
        apiserver = stack.enter_context(
            process(
                home / "apiserver.log", *python, "cluster.apiserver", f"--etcd-servers={etcd}",
                f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={home}/certs",
                f"--service-account-key-file={home}/sa.pub", f"--service-account-signing-key-file={home}/sa.key",
                "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={home}/tokens.csv",
                "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16",
            )
        )  # fmt: skip
        plane = ControlPlane(home, port, config, certificate, apiserver, etcd)
        wait_ready(home, port, apiserver)
        for service in services:
            flags = (f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0")
            stack.enter_context(process(home / f"{service}.log", *python, f"cluster.{service}", *flags))
        yield plane


@contextlib.contextmanager
def process(log: pathlib.Path, *argv: str) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output, subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()
            running.wait(20)


def _write_keys(home: pathlib.Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (home / "sa.key").write_bytes(key.private_bytes(*plain))
    (home / "sa.pub").write_bytes(key.public_key().public_bytes(*public))
    (home / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')


def wait_ready(home: pathlib.Path, port: int, apiserver: "subprocess.Popen[bytes]") -> None:
    """Fails the test when the apiserver ends, or takes half a minute."""

    def log() -> str:
        return (home / "apiserver.log").read_text(errors="replace")[-2000:]

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if apiserver.poll() is not None:
            pytest.fail(f"the apiserver ended with {apiserver.returncode}: {log()}")
        with contextlib.suppress(OSError, ssl.SSLError):
            context = ssl.create_default_context(cafile=home / "certs" / "apiserver.crt")
            url = f"https://127.0.0.1:{port}/readyz"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    pytest.fail(f"the apiserver was not ready within 30 s: {log()}")
