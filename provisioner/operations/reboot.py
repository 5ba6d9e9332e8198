"""Boot a host anew and wait for it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from provisioner.errors import HostUnreachableError, ProvisionError
from provisioner.transports.base import Transport

PATIENCE = 600.0  # seconds; servers test their memory for minutes
_ASK_AGAIN = 0.5
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


async def boot_id(transport: Transport) -> str:
    """Another one after each boot. Raises HostUnreachableError."""
    return (await transport.run(["cat", _BOOT_ID])).stdout.strip()


async def ask(transport: Transport) -> None:
    """It begins to shut down; the connection may fall before the answer comes."""
    with contextlib.suppress(HostUnreachableError):
        done = await transport.run(["systemctl", "--no-block", "reboot"])
        if done.exit_code:
            raise ProvisionError(
                "the host does not boot anew", why=done.stderr.strip() or f"exit code {done.exit_code}",
                next_step="Boot it by its own means, then run again.", host=transport.host,
            )  # fmt: skip


async def wait(host: str, before: str, look: Callable[[], Awaitable[str]]) -> None:
    """
    Returns once another boot than `before` answers.

    Args:
        host: Its name.
        before: The boot that is left.
        look: Connects, and returns the boot that answers. Raises HostUnreachableError while none does.

    Raises:
        ProvisionError: none did within PATIENCE.
    """
    why = "it still runs as before"
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if await look() != before:
                        return
                except HostUnreachableError as error:
                    why = str(error)
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"the host is not back {PATIENCE:g} s after its reboot", why=why,
            next_step="Look at its console. Once it answers, run again.", host=host,
        ) from error  # fmt: skip
