"""A host without a host: commands are answered from a table. Keeps the contract that test_transport_contract states."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from provisioner.state import LockedError
from provisioner.transports.base import CommandResult

Answer = Callable[[Sequence[str], bytes], CommandResult]


class FakeTransport:
    """Remembers `commands`; `answers` maps a program's name to what it says. An unknown program is exit code 127."""

    def __init__(self, host: str = "fake", locks: set[str] | None = None) -> None:
        self.host = host
        self.commands: list[list[str]] = []
        self.answers: dict[str, Answer] = {
            "cat": lambda argv, given: CommandResult(0, given.decode(), ""),
            "false": lambda argv, given: CommandResult(1, "", ""),
            "id": lambda argv, given: CommandResult(0, "0\n", ""),
        }
        self._locks = locks if locks is not None else set()

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> CommandResult:
        self.commands.append(list(argv))
        answer = self.answers.get(argv[0])
        return answer(argv, stdin) if answer else CommandResult(127, "", f"{argv[0]}: no such program")

    async def stream_in(self, argv: Sequence[str], content: Iterator[bytes]) -> CommandResult:
        return await self.run(argv, stdin=b"".join(content))

    async def stream_out(self, argv: Sequence[str], take: Callable[[bytes], None]) -> CommandResult:
        result = await self.run(argv)
        if result.stdout:
            take(result.stdout.encode())
        return CommandResult(result.exit_code, "", result.stderr)

    @contextlib.asynccontextmanager
    async def hold_lock(self, path: str) -> AsyncIterator[None]:
        if path in self._locks:
            raise LockedError("another operator changes this host", why=path, next_step="Wait.", host=self.host)
        self._locks.add(path)
        try:
            yield
        finally:
            self._locks.remove(path)

    async def close(self) -> None:
        self._locks.clear()
