"""
Transport: how a command reaches a host.

Implemented by   ssh.py; tests/fakes/fake_transport.py.
Used by          facts, operations, phases.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class CommandResult(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """
    One host, reached. No timeouts: the caller writes `async with asyncio.timeout(30):` around a call, and being
    cancelled ends the remote command too.
    """

    host: str
    """The host's name in the inventory."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> CommandResult:
        """
        Run one command as root, without a shell. Several may run at once.

        An exit code other than 0 is no error here; 127 means that there is no such program.

        Raises:
            HostUnreachableError: The connection ended; whether the command did is unknown.
        """

    async def stream_in(self, argv: Sequence[str], content: Iterator[bytes]) -> CommandResult:
        """
        Run one command as root and feed it `content`, whose pieces are read as they are sent.

        Raises:
            HostUnreachableError: As `run`.
        """

    async def stream_out(self, argv: Sequence[str], take: Callable[[bytes], None]) -> CommandResult:
        """
        Run one command as root and hand what it writes to `take`, piece by piece, in another thread. The result's
        stdout is empty.

        Raises:
            HostUnreachableError: As `run`; `take` has then had a part.
        """

    def hold_lock(self, path: str) -> AbstractAsyncContextManager[None]:
        """
        Hold a lock on the host for the length of the block; it falls with the connection.

        Raises:
            LockedError: Another operator holds it.
        """

    async def close(self) -> None:
        """End the connection and what runs over it."""
