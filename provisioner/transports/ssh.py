"""
SSH: one connection and one living helper process a host, through Fabric and paramiko.

A command costs one frame each way (1-2 ms) instead of a channel, a login shell and a rc file. TCP_NODELAY is set, which
neither library does (48 -> 14 ms a channel). Host keys are pinned: Fabric's own policy, which accepts everything, is
replaced before anything is dialled.

Called by   provisioner.phases.connect. The one door of the project to paramiko and fabric.
Not here    what the helper does on the host (host_agent.py).
"""

import asyncio
import base64
import contextlib
import dataclasses
import functools
import inspect
import json
import os
import shlex
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fabric
import paramiko

from inventory.model import HostSpec
from provisioner.errors import HostUnfitError, HostUnreachableError
from provisioner.state import LockedError, write_atomically
from provisioner.transports import host_agent
from provisioner.transports.base import CommandResult
from provisioner.transports.host_keys import with_pin

CONNECT_PATIENCE = 10  # seconds for TCP, banner and login each
PIECE = 1 << 20
"""Bytes sent at once. Larger ones make paramiko quadratic, smaller ones cost round trips."""
KEEPALIVE = 15  # seconds between signs of life on an idle connection

_ResultT = TypeVar("_ResultT")

# Logging in and sending block a thread each. More at once would only queue for the same cores.
_POOL = ThreadPoolExecutor(max_workers=32, thread_name_prefix="ssh")


class AuthenticationFailedError(HostUnreachableError):
    """The host answers but does not let us in. Remedy: user, key or sudo password."""


class HostKeyError(HostUnreachableError):
    """The host is not who it was, or nobody vouches for it. Remedy: check the key, then pin it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SshAccess:
    """What holds for all hosts of a cluster."""

    known_hosts: Path
    accept_new_host_keys: bool = False
    """Pin the key of a host that was never seen. A changed key is refused all the same."""
    accepted_fingerprint: str = ""
    """Of the one changed key that somebody vouches for: it is pinned in the place of the old one."""
    become_password: str = ""
    """For sudo; sent over the connection's input only."""

    def __repr__(self) -> str:
        return f"SshAccess(known_hosts={self.known_hosts}, become_password=<{len(self.become_password)} letters>)"


_PINNING = threading.Lock()


def _pin(access: SshAccess, hostname: str, key: paramiko.PKey) -> None:
    with _PINNING:
        path = access.known_hosts
        known = path.read_text() if path.exists() else ""
        write_atomically(path, with_pin(known, hostname, key.get_name(), key.get_base64()).encode(), mode=0o600)


class _PinnedKeys(paramiko.MissingHostKeyPolicy):
    """Asked by paramiko about a host without a pinned key, before anything is sent to it."""

    def __init__(self, access: SshAccess) -> None:
        self._access = access

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        if not self._access.accept_new_host_keys:
            raise HostKeyError(
                "the host's key is not known",
                why=f"{hostname} shows {key.get_name()} {key.fingerprint}, and {self._access.known_hosts} has none",
                next_step="Compare the fingerprint with the host's, then run with --accept-new-host-keys to pin it.",
            )
        _pin(self._access, hostname, key)


class SshTransport:
    """One connected host. Made by `connect`."""

    def __init__(self, spec: HostSpec, connection: Any, become: Sequence[str], password: str) -> None:
        self.host = spec.name
        self._connection = connection
        self._become = tuple(become)
        self._password = password
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._ended = ""
        self._sending = threading.Lock()
        self._channel: Any = None

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> CommandResult:
        given = base64.b64encode(stdin).decode()
        answer = await self._ask({"op": "run", "argv": list(argv), "stdin": given})
        return CommandResult(answer["exit"], answer["out"], answer["err"])

    async def stream_in(self, argv: Sequence[str], content: Iterator[bytes]) -> CommandResult:
        stopped = threading.Event()
        try:
            return await _in_thread(functools.partial(self._stream, argv, content, stopped))
        finally:
            stopped.set()

    def _stream(self, argv: Sequence[str], content: Iterator[bytes], stopped: threading.Event) -> CommandResult:
        try:
            channel = self._open(argv)
            for piece in content:
                if stopped.is_set():
                    channel.close()  # the remote command gets its end of input early and fails
                    break
                channel.sendall(piece)
            channel.shutdown_write()
            out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
            return CommandResult(channel.recv_exit_status(), out.decode(errors="replace"), err.decode(errors="replace"))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(str(error) or type(error).__name__) from error

    async def stream_out(self, argv: Sequence[str], take: Callable[[bytes], None]) -> CommandResult:
        stopped = threading.Event()
        try:
            return await _in_thread(functools.partial(self._receive, argv, take, stopped))
        finally:
            stopped.set()

    def _receive(self, argv: Sequence[str], take: Callable[[bytes], None], stopped: threading.Event) -> CommandResult:
        try:
            channel = self._open(argv)
            channel.shutdown_write()
            while (piece := channel.recv(PIECE)) and not stopped.is_set():
                take(piece)
            if stopped.is_set():
                channel.close()
            err = channel.makefile_stderr("rb").read()
            return CommandResult(channel.recv_exit_status(), "", err.decode(errors="replace"))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(str(error) or type(error).__name__) from error

    @contextlib.asynccontextmanager
    async def hold_lock(self, path: str) -> AsyncIterator[None]:
        holder = f"{os.environ.get('USER', 'operator')}@{socket.gethostname()}"
        answer = await self._ask({"op": "lock", "path": path, "holder": holder})
        if answer["exit"] != 0:
            raise LockedError(
                "another operator changes this host",
                why=f"{answer['out'].strip() or 'somebody'} holds {path}",
                next_step="Wait until that run ends, then run again.",
                host=self.host,
            )
        try:
            yield
        finally:
            if not self._ended:
                await self._ask({"op": "unlock", "path": path})

    async def close(self) -> None:
        self._ended = self._ended or "it was closed"
        await _in_thread(self._connection.close)

    def start_helper(self) -> None:
        """Blocks. Raises HostUnfitError when the host has no usable Python."""
        source = inspect.getsource(host_agent).encode()
        starter = f"import sys;exec(sys.stdin.buffer.read({len(source)}))"
        self._channel = self._open(["python3", "-I", "-c", starter])
        self._channel.sendall(source)
        header = self._channel.makefile("rb")
        try:
            hello = _read_frame(header)
        except EOFError as error:
            code = self._channel.recv_exit_status()
            said = self._channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            if self._become and code == 1:
                raise AuthenticationFailedError(
                    f"{self._become[0]} does not make us root", why=said or "the password was refused",
                    next_step="Check the password, or allow the user NOPASSWD in sudoers.", host=self.host,
                ) from error  # fmt: skip
            raise HostUnfitError(
                "the host cannot run our helper", why=said or f"python3 ended with exit code {code}",
                next_step="Install Python there (`apt-get install python3`), then run again.", host=self.host,
            ) from error  # fmt: skip
        assert hello["out"] == "ready"  # noqa: S101 - our own helper's first frame
        threading.Thread(target=self._read, args=(header,), name=f"ssh {self.host}", daemon=True).start()

    def _open(self, argv: Sequence[str]) -> Any:
        channel = self._connection.transport.open_session(window_size=8 << 20)
        channel.exec_command(shlex.join([*self._become, *argv]))
        if self._become and "-S" in self._become:
            channel.sendall(f"{self._password}\n".encode())
        return channel

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._ended:
            raise self._lost(self._ended)
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._waiting[number] = future
        try:
            await _in_thread(functools.partial(self._send, {**request, "id": number}))
            return await future
        except asyncio.CancelledError:
            # The future was cancelled with us; the command was not. One that has ended meanwhile is not found there.
            with contextlib.suppress(HostUnreachableError):
                await _in_thread(functools.partial(self._send, {"op": "cancel", "id": number}))
            raise
        finally:
            self._waiting.pop(number, None)

    def _send(self, request: dict[str, Any]) -> None:
        data = json.dumps(request).encode()
        frame = struct.pack(">I", len(data)) + data
        try:
            with self._sending:
                for start in range(0, len(frame), PIECE):
                    self._channel.sendall(frame[start : start + PIECE])
        except OSError as error:
            raise self._lost(str(error)) from error

    def _read(self, source: Any) -> None:
        """The reading thread: answers to whoever waits for them, until the connection ends."""
        try:
            while True:
                message = _read_frame(source)
                self._tell(self._deliver, message)
        except (EOFError, OSError, ValueError) as error:
            self._tell(self._fail_all, str(error) or "the connection ended")

    def _tell(self, call: Callable[..., None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, argument)

    def _deliver(self, message: dict[str, Any]) -> None:
        future = self._waiting.get(message["id"])
        if future is not None and not future.done():
            future.set_result(message)

    def _fail_all(self, reason: str) -> None:
        self._ended = self._ended or reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._lost(reason))

    def _lost(self, reason: str) -> HostUnreachableError:
        return HostUnreachableError(
            "the connection was lost", why=reason, next_step="Run again; it resumes where it stopped.", host=self.host
        )


async def connect(spec: HostSpec, access: SshAccess) -> SshTransport:
    """
    Log in to a host and start the helper there. Waiting for a host that still boots is the caller's.

    Raises:
        HostUnreachableError: No answer.
        AuthenticationFailedError, HostKeyError: It answers, but.
        HostUnfitError: It has no Python.
    """
    connection = await _in_thread(functools.partial(_log_in, spec, access))
    try:
        become, password = await _in_thread(functools.partial(_find_become, connection, spec, access))
        transport = SshTransport(spec, connection, become, password)
        await _in_thread(transport.start_helper)
    except BaseException:
        connection.close()
        raise
    return transport


def _log_in(spec: HostSpec, access: SshAccess) -> Any:
    gateway = _connection(access, *_split_bastion(spec.ssh.bastion), key=spec.ssh.key) if spec.ssh.bastion else None
    connection = _connection(access, spec.ssh.user, spec.address, spec.ssh.port, key=spec.ssh.key, gateway=gateway)
    try:
        connection.open()
    except HostKeyError as error:
        raise HostKeyError(error.what, why=error.why, next_step=error.next_step, host=spec.name) from error
    except paramiko.BadHostKeyException as error:
        shown = error.key.fingerprint
        if access.accepted_fingerprint and access.accepted_fingerprint == shown:
            connection.close()
            _pin(access, _pinned_as(spec, error.hostname), error.key)
            return _log_in(spec, dataclasses.replace(access, accepted_fingerprint=""))
        cluster = access.known_hosts.parent.name
        raise HostKeyError(
            "the host's key has changed", host=spec.name,
            why=f"{error.hostname} shows {shown}, pinned is {error.expected_key.fingerprint}",
            next_step="Somebody else may answer in its place. If the host was made anew, compare with "
            "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console, then run "
            f"`provision nodes accept-key {cluster} {spec.name} --fingerprint {shown}`; else do not go on.",
        ) from error  # fmt: skip
    except paramiko.AuthenticationException as error:
        raise AuthenticationFailedError(
            "the host does not let us in", why=f"{spec.ssh.user}@{spec.address}:{spec.ssh.port}: {error}",
            next_step="Check `ssh.user` and `ssh.key` in the inventory.", host=spec.name,
        ) from error  # fmt: skip
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise HostUnreachableError(
            "no answer", why=f"{spec.address}:{spec.ssh.port}: {str(error) or type(error).__name__}",
            next_step=f"Check that sshd runs there and that TCP {spec.ssh.port} is open, then run again.",
            host=spec.name,
        ) from error  # fmt: skip
    for hop in (gateway, connection):
        if hop is not None and isinstance(hop.transport.sock, socket.socket):
            hop.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hop.transport.set_keepalive(KEEPALIVE)
    return connection


def _pinned_as(spec: HostSpec, address: str) -> str:
    """The host's name in known_hosts; an error names the address alone, the host's or its bastion's."""
    port = spec.ssh.port if address == spec.address else _split_bastion(spec.ssh.bastion)[2]
    return address if port == 22 else f"[{address}]:{port}"


def _connection(access: SshAccess, user: str, address: str, port: int, *, key: str, gateway: Any = None) -> Any:
    options: dict[str, Any] = {"banner_timeout": CONNECT_PATIENCE, "auth_timeout": CONNECT_PATIENCE}
    if key:
        options |= {"key_filename": str(Path(key).expanduser()), "allow_agent": False, "look_for_keys": False}
    connection = fabric.Connection(
        address,
        user=user,
        port=port,
        gateway=gateway,
        connect_timeout=CONNECT_PATIENCE,
        connect_kwargs=options,
        # The inventory says all there is to say; what ~/.ssh/config says differs between operators.
        config=fabric.Config(overrides={"load_ssh_configs": False}),
    )
    connection.client.set_missing_host_key_policy(_PinnedKeys(access))
    if access.known_hosts.exists():
        connection.client.load_host_keys(str(access.known_hosts))
    return connection


def _find_become(connection: Any, spec: HostSpec, access: SshAccess) -> tuple[list[str], str]:
    """How to be root there: not at all, by sudo without a password, or with one on its input."""
    if not spec.ssh.become:
        return [], ""
    channel = connection.transport.open_session()
    channel.exec_command("sudo -n true")
    if channel.recv_exit_status() == 0:
        return ["sudo", "-n", "--"], ""
    if not access.become_password:
        raise AuthenticationFailedError(
            "sudo asks for a password", why=f"user {spec.ssh.user} may not use sudo without one",
            next_step="Run with --ask-become-pass, or allow the user NOPASSWD in sudoers.", host=spec.name,
        )  # fmt: skip
    # -k: always ask, so that the password line is always read as such.
    return ["sudo", "-k", "-S", "-p", "", "--"], access.become_password


def _split_bastion(text: str) -> tuple[str, str, int]:
    user, _, rest = text.rpartition("@")
    address, _, port = rest.partition(":")
    return user or "root", address, int(port or 22)


def _read_frame(source: Any) -> dict[str, Any]:
    header = source.read(4)
    if len(header) < 4:
        raise EOFError("the connection ended")
    size = struct.unpack(">I", header)[0]
    data = source.read(size)
    if len(data) < size:
        raise EOFError("the connection ended within an answer")
    message: dict[str, Any] = json.loads(data)
    return message


async def _in_thread(call: Callable[[], _ResultT]) -> _ResultT:
    return await asyncio.get_running_loop().run_in_executor(_POOL, call)
