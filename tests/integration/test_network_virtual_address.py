"""
The apiservers' common address: two masters on one switch, each with an apiserver of its own and one etcd behind.

    client 192.0.2.9 ── switch ── m1 192.0.2.1, m2 192.0.2.2; the address is 192.0.2.100
"""

import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.conftest import TOKEN
from tests.integration.network_api import KUBECONFIG, apiserver_argv, etcd
from tests.integration.network_namespaces import (
    Namespace,
    Relay,
    attach,
    eventually,
    lacking,
    namespaces,
    program,
    service,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.skipif(bool(lacking()), reason=lacking())]

ADDRESS = "192.0.2.100"
FAILOVER = 8.0  # seconds: what clients are promised


@dataclass
class Master:
    where: Namespace
    directory: Path
    etcd_port: int
    apiserver: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    proxy: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    process: "subprocess.Popen[bytes] | None" = None
    relay: Relay | None = None

    def start_apiserver(self) -> None:
        argv = ["ip", "netns", "exec", self.where.name]
        argv += apiserver_argv(self.directory / "certs", 2379, 6443, "0.0.0.0")
        self.process = self.apiserver.enter_context(program(argv, self.directory / "apiserver.log"))
        eventually(lambda: self.is_ready("127.0.0.1"), "the apiserver is ready", 15)

    def join_etcd(self) -> None:
        self.relay = Relay(self.where, ("127.0.0.1", 2379), ("127.0.0.1", self.etcd_port))

    def cut_from_etcd(self) -> None:
        if self.relay is not None:
            self.relay.close()
            self.relay = None

    def start_proxy(self) -> None:
        name = self.where.name.rpartition("-")[2]
        address = f"192.0.2.{name[1:]}"
        self.proxy.enter_context(
            service(
                self.where, "cluster.kube_proxy", f"--kubeconfig={self.directory / 'kubeconfig'}",
                f"--hostname-override={name}", f"--node-ip={address}", "--pod-network=none",
                f"--api-virtual-address={ADDRESS}/24", "--api-virtual-address-interface=eth0",
                directory=self.directory,
            )
        )  # fmt: skip

    def has_address(self) -> bool:
        return ADDRESS in self.where.ip("-4 -br address show dev eth0")

    def is_ready(self, address: str) -> bool:
        return answers(self.where, address)


def answers(where: Namespace, address: str) -> bool:
    """Whether an apiserver says on this address that it is ready."""
    context = ssl._create_unverified_context()
    try:
        with where.socket() as plain:
            plain.settimeout(0.5)
            plain.connect((address, 6443))
            with context.wrap_socket(plain) as client:
                client.sendall(f"GET /readyz HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
                return b" 200 " in client.recv(4096).split(b"\r\n")[0]
    except OSError:
        return False


@dataclass
class Lab:
    masters: list[Master]
    client: Namespace

    def holder(self) -> Master | None:
        return next((each for each in self.masters if each.has_address()), None)

    def settle(self) -> tuple[Master, Master]:
        """(holder, the other) once the address is served."""
        eventually(lambda: answers(self.client, ADDRESS), "the address is served", 15)
        holder = self.holder()
        assert holder is not None
        return holder, next(each for each in self.masters if each is not holder)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        etcd_port = stack.enter_context(etcd(tmp_path_factory.mktemp("etcd")))
        switch, client, *hosts = stack.enter_context(namespaces("switch", "client", "m1", "m2"))
        attach(switch, "client", client, "192.0.2.9/24")
        masters = []
        for number, host in enumerate(hosts, 1):
            attach(switch, f"m{number}", host, f"192.0.2.{number}/24")
            directory = tmp_path_factory.mktemp(f"m{number}")
            (directory / "kubeconfig").write_text(KUBECONFIG % TOKEN)
            master = Master(host, directory, etcd_port)
            master.join_etcd()
            stack.callback(master.cut_from_etcd)
            stack.callback(master.apiserver.close)
            stack.callback(master.proxy.close)
            masters.append(master)
        for master in masters:
            master.start_apiserver()
            master.start_proxy()
        yield Lab(masters, client)


def failover(lab: Lab, away: Master) -> float:
    """Seconds from now until a client that knows the old MAC address is served again by the other master."""
    started = time.monotonic()
    other = next(each for each in lab.masters if each is not away)
    eventually(lambda: other.has_address() and answers(lab.client, ADDRESS), "the other master serves", 20)
    return time.monotonic() - started


def test_one_master_has_the_address_and_says_so(lab: Lab) -> None:
    lab.settle()
    assert [each.has_address() for each in lab.masters].count(True) == 1


def test_a_master_that_stops_in_order_hands_over_at_once(lab: Lab) -> None:
    holder, _ = lab.settle()
    started = time.monotonic()
    holder.proxy.close()
    assert not holder.has_address()
    assert failover(lab, holder) + (time.monotonic() - started) / 2 < FAILOVER
    assert time.monotonic() - started < 4
    holder.start_proxy()


def test_a_master_whose_apiserver_stops_hands_over_in_time(lab: Lab) -> None:
    holder, other = lab.settle()
    holder.apiserver.close()
    assert failover(lab, holder) < FAILOVER
    assert not holder.has_address()
    holder.start_apiserver()
    assert lab.holder() is other


def test_a_master_whose_apiserver_hangs_hands_over_in_time(lab: Lab) -> None:
    holder, _ = lab.settle()
    assert holder.process is not None
    os.kill(holder.process.pid, signal.SIGSTOP)
    try:
        assert failover(lab, holder) < FAILOVER
        assert not holder.has_address()
    finally:
        os.kill(holder.process.pid, signal.SIGCONT)
    eventually(lambda: holder.is_ready("127.0.0.1"), "the apiserver goes on", 10)


def test_a_master_whose_etcd_is_away_hands_over_in_time(lab: Lab) -> None:
    holder, _ = lab.settle()
    holder.cut_from_etcd()
    try:
        assert failover(lab, holder) < FAILOVER
        assert not holder.has_address()
    finally:
        holder.join_etcd()
    eventually(lambda: holder.is_ready("127.0.0.1"), "the apiserver finds its etcd again", 15)


def test_a_master_that_vanishes_is_followed_in_time(lab: Lab) -> None:
    """Its cable is pulled and everything on it stops at the same moment, as in a power cut."""
    holder, other = lab.settle()
    processes = holder.where.pids()
    holder.where.ip("link set eth0 down")
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        assert failover(lab, holder) < FAILOVER
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        holder.where.ip("link set eth0 up")
    eventually(lambda: not holder.has_address(), "the old holder lets go when it is back")
    assert other.has_address()


def test_a_new_holder_announces_itself_by_arp(lab: Lab) -> None:
    holder, other = lab.settle()
    mac = bytes.fromhex(other.where.run("cat", "/sys/class/net/eth0/address").strip().replace(":", ""))
    listener = lab.client.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
    with listener:
        listener.bind(("eth0", 0x0806))
        listener.settimeout(0.2)
        holder.proxy.close()
        wanted = mac + socket.inet_aton(ADDRESS)

        def heard() -> bool:
            with contextlib.suppress(TimeoutError):
                frame = listener.recv(100)
                sender, target = frame[22:32], frame[38:42]
                operation = struct.unpack("!H", frame[20:22])[0]
                return frame[:6] == b"\xff" * 6 and operation == 1 and sender == wanted and target == wanted[6:]
            return False

        eventually(heard, "an announcement is on the wire")
    holder.start_proxy()


def test_an_address_left_by_an_earlier_run_is_removed(lab: Lab) -> None:
    _, other = lab.settle()
    other.proxy.close()
    other.where.ip(f"address add {ADDRESS}/24 dev eth0")
    other.start_proxy()
    eventually(lambda: not other.has_address(), "the stale address is gone")
    lab.settle()
