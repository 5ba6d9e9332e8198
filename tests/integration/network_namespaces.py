"""
Hosts and pods of the tests' own: network namespaces, links between them, sockets inside, all removed with the block.

Namespaces are called hanse-t-<pid>-<name>; no link is ever made in the machine's own namespace. Needs root.
"""

import contextlib
import ctypes
import os
import selectors
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[2]
NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x4000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def lacking() -> str:
    """Why tests with namespaces cannot run here; empty when they can."""
    missing = [program for program in ("ip", "bridge", "nft") if shutil.which(program) is None]
    if os.geteuid():
        missing.append("root")
    return f"needs {', '.join(missing)} on this machine" if missing else ""


@dataclass(frozen=True)
class Namespace:
    """One host, or one pod."""

    name: str

    def ip(self, arguments: str) -> str:
        return _call("ip", "-n", self.name, *arguments.split())

    def run(self, *argv: str) -> str:
        return _call("ip", "netns", "exec", self.name, *argv)

    def pids(self) -> list[int]:
        """Processes that run inside; the tests' own is none, only threads of it have been there."""
        return [int(pid) for pid in _call("ip", "netns", "pids", self.name).split()]

    def inside(self, make: Callable[[], T]) -> T:
        """The result of `make` on a thread inside; sockets made there stay there."""
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                with (NETNS / self.name).open("rb") as handle:
                    if _LIBC.setns(handle.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")
                results.append(make())
            except BaseException as error:  # handed to the caller's thread
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        return self.inside(lambda: socket.socket(socket.AF_INET, kind))


def _call(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"`{' '.join(argv)}` failed: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def namespaces(*names: str) -> Iterator[tuple[Namespace, ...]]:
    made: list[Namespace] = []
    try:
        for name in names:
            each = Namespace(f"hanse-t-{os.getpid()}-{name}")
            _call("ip", "netns", "add", each.name)
            made.append(each)
            each.ip("link set lo up")
        yield tuple(made)
    finally:
        for each in made:
            subprocess.run(["ip", "netns", "del", each.name], capture_output=True, check=False)


def connect(left: Namespace, left_name: str, right: Namespace, right_name: str) -> None:
    """A cable between two namespaces, both ends up."""
    left.ip(f"link add {left_name} type veth peer name {right_name} netns {right.name}")
    left.ip(f"link set {left_name} up")
    right.ip(f"link set {right_name} up")


def attach(switch: Namespace, port: str, host: Namespace, address: str) -> None:
    """Give `host` an eth0 with this address/prefix, plugged into the bridge br0 of `switch`, made when missing."""
    if "br0" not in switch.ip("-br link show"):
        switch.ip("link add br0 type bridge")
        switch.ip("link set br0 up")
    connect(host, "eth0", switch, port)
    switch.ip(f"link set {port} master br0")
    host.ip(f"address add {address} dev eth0")


def add_pod(host: Namespace, pod: Namespace, address: str, gateway: str) -> None:
    """Hang a pod on its host as the ptp plugin does: a routed link, the host's end has the gateway's address."""
    link = f"p{address.replace('.', '')[-12:]}"
    connect(pod, "eth0", host, link)
    host.ip(f"address add {gateway}/32 dev {link}")
    host.ip(f"route add {address}/32 dev {link}")
    pod.ip(f"address add {address}/32 dev eth0")
    pod.ip(f"route add {gateway}/32 dev eth0 scope link")
    pod.ip(f"route add default via {gateway}")


def eventually(condition: Callable[[], bool], what: str, timeout: float = 8.0) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        if condition():
            return time.monotonic() - started
        time.sleep(0.05)
    pytest.fail(f"not within {timeout:g} s: {what}")


# --- programs inside -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def program(
    argv: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A child process for the length of the block; what it says is appended to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def service(where: Namespace, module: str, *flags: str, directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m <module>` inside, from the moment it has told READY=1."""
    address = directory / f"notify-{module.rpartition('.')[2]}-{time.monotonic_ns()}"
    log = directory / f"{where.name}-{module}.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(0.1)
        argv = ["ip", "netns", "exec", where.name, sys.executable, "-m", module, *flags]
        with program(argv, log, {"NOTIFY_SOCKET": str(address)}) as process:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in channel.recv(1000).splitlines():
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{module} is not ready: {log.read_text()[-3000:]}")
            yield process


# --- sockets inside ------------------------------------------------------------------------------------------


class Threaded:
    """Something with sockets that a thread looks after; `close` ends it."""

    def __init__(self, *listening: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        for each in listening:
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name=type(self).__name__)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                with contextlib.suppress(OSError):
                    self.readable(key.fileobj)  # type: ignore[arg-type]

    def readable(self, which: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()


class Echo(Threaded):
    """Says its own name and the client's address, over TCP and UDP."""

    def __init__(self, where: Namespace, port: int, name: str = "", address: str = "0.0.0.0") -> None:
        self.name = name or where.name.rpartition("-")[2]
        tcp, udp = where.socket(), where.socket(socket.SOCK_DGRAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (tcp, udp):
            each.bind((address, port))
        tcp.listen(64)
        super().__init__(tcp, udp)

    def readable(self, which: socket.socket) -> None:
        if which.type == socket.SOCK_DGRAM:
            _, client = which.recvfrom(1000)
            which.sendto(f"{self.name} {client[0]}".encode(), client)
            return
        connection, client = which.accept()
        with connection:
            connection.sendall(f"{self.name} {client[0]}".encode())


class Relay(Threaded):
    """Carries TCP connections from a port inside to one of the machine's own namespace."""

    def __init__(self, where: Namespace, address: tuple[str, int], target: tuple[str, int]) -> None:
        self._target = target
        self._partner: dict[socket.socket, socket.socket] = {}
        self._listener = where.socket()
        # Connections of the relay before this one may still linger in TIME_WAIT.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address)
        self._listener.listen(64)
        super().__init__(self._listener)

    def readable(self, which: socket.socket) -> None:
        if which is self._listener:
            inner, _ = which.accept()
            outer = socket.create_connection(self._target)
            self._partner |= {inner: outer, outer: inner}
            for each in (inner, outer):
                self._selector.register(each, selectors.EVENT_READ)
            return
        other = self._partner.get(which)
        if other is None:
            return  # closed with its partner since it was selected
        try:
            data = which.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass  # one end is gone; both are closed
        for each in (which, other):
            self._selector.unregister(each)
            del self._partner[each]
            each.close()


def ask_tcp(where: Namespace, address: str, port: int, *, source: str = "", timeout: float = 2.0) -> tuple[str, str]:
    """(who answered, as whom it saw us). Raises ConnectionRefusedError or TimeoutError."""
    with where.socket() as client:
        client.settimeout(timeout)
        if source:
            client.bind((source, 0))
        client.connect((address, port))
        name, _, seen = client.recv(1000).decode().partition(" ")
        return name, seen


def ask_udp(
    where: Namespace, address: str, port: int, *, client: socket.socket | None = None, timeout: float = 2.0
) -> tuple[str, str]:
    """As `ask_tcp`; with `client`, from that socket's port."""
    with contextlib.ExitStack() as stack:
        used = client or stack.enter_context(where.socket(socket.SOCK_DGRAM))
        used.settimeout(timeout)
        used.connect((address, port))
        used.send(b"?")
        name, _, seen = used.recv(1000).decode().partition(" ")
        return name, seen
