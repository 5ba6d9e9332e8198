"""Log in to every host at once; wait for machines that still boot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from inventory.model import HostSpec
from provisioner.errors import HostUnreachableError
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.transports.ssh import AuthenticationFailedError, HostKeyError, SshTransport, connect

BOOT_PATIENCE = 60.0  # seconds a machine that was just started may take until it answers
_TRY_AGAIN = 0.1  # seconds

LOCK_PATH = "/run/hanse-provision.lock"
"""On every host; held over the connection, so that it falls with the operator's process."""


async def connect_hosts(run: Run, hosts: Sequence[HostSpec], *, booting: bool) -> None:
    """Fills run.transports. Raises for all hosts that cannot be reached together."""

    async def one(host: HostSpec) -> None:
        run.transports[host.name] = await (_when_booted(run, host) if booting else connect(host, run.access))

    await for_each([host for host in hosts if host.name not in run.transports], one)


async def _when_booted(run: Run, host: HostSpec) -> SshTransport:
    last: HostUnreachableError | None = None
    try:
        async with asyncio.timeout(BOOT_PATIENCE):
            while True:
                try:
                    return await connect(host, run.access)
                except (AuthenticationFailedError, HostKeyError):
                    raise
                except HostUnreachableError as error:
                    last = error
                await asyncio.sleep(_TRY_AGAIN)
    except TimeoutError:
        if last is None:
            raise
        raise last from None


class HostLocks:
    """Hosts that nobody else changes for the length of the block. A lock falls with a host's connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._held: dict[str, contextlib.AsyncExitStack] = {}

    async def __aenter__(self) -> "HostLocks":
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self._held):
            await self._held.pop(name).aclose()

    async def take(self, hosts: Sequence[HostSpec]) -> None:
        """Raises LockedError; what was taken before is kept until the block ends."""
        for host in hosts:
            held = contextlib.AsyncExitStack()
            await held.enter_async_context(self._run.transport(host).hold_lock(LOCK_PATH))
            self._held[host.name] = held

    async def let_go(self, host: HostSpec) -> None:
        await self._held.pop(host.name).aclose()


@contextlib.asynccontextmanager
async def locked_hosts(run: Run, hosts: Sequence[HostSpec] = ()) -> AsyncIterator[None]:
    """Nobody else changes these hosts (default: all) for the length of the block. Raises LockedError."""
    async with HostLocks(run) as locks:
        await locks.take(hosts or run.spec.hosts)
        yield


async def disconnect(run: Run, hosts: Sequence[HostSpec] = ()) -> None:
    """End the connections to these hosts (default: all)."""
    names = [host.name for host in hosts] or list(run.transports)
    await asyncio.gather(*(run.transports.pop(name).close() for name in names if name in run.transports))
