"""
Work over many hosts: every host gets to its end whatever happens to others, then all failures go up together.

A fleet is not a TaskGroup: one bad host must not cut the others off in the middle of a change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

from inventory.model import HostSpec
from provisioner.errors import ProvisionError
from provisioner.execution.failpoints import reach

HOSTS_AT_ONCE = 50
"""More at once only queue for this machine's cores and the network."""

ResultT = TypeVar("ResultT")


class SeveralHostsError(ProvisionError):
    """Several hosts failed. Its exit code is the one whose remedy comes first: unreachable, unfit, other."""

    def __init__(self, failures: Sequence[ProvisionError], hosts: int) -> None:
        super().__init__(
            f"{len(failures)} of {hosts} hosts failed",
            why="; ".join(f"{error.host or 'all'}: {error.what}: {error.why}" for error in failures),
            next_step=" ".join(dict.fromkeys(error.next_step for error in failures)),
        )
        self.failures = tuple(failures)
        self.exit_code = max((error.exit_code for error in failures), default=1)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.what}:", *(str(error) for error in self.failures)])


async def for_each(
    hosts: Sequence[HostSpec], do: Callable[[HostSpec], Awaitable[ResultT]], *, at_once: int = HOSTS_AT_ONCE
) -> Mapping[str, ResultT]:
    """
    Run `do` on every host; returns host name -> result.

    Raises:
        ProvisionError: the only failure, or SeveralHostsError with all of them. A bug's exception goes up as it is.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(host: HostSpec) -> ResultT:
        async with slots:
            reach(f"before {host.name}")
            result = await do(host)
            reach(f"after {host.name}")
            return result

    results = await asyncio.gather(*(one(host) for host in hosts), return_exceptions=True)
    failures: list[ProvisionError] = []
    done: dict[str, ResultT] = {}
    for host, result in zip(hosts, results, strict=True):
        if isinstance(result, ProvisionError):
            result.host = result.host or host.name
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            done[host.name] = result
    if failures:
        raise_together(failures, len(hosts))
    return done


def raise_together(failures: Sequence[ProvisionError], hosts: int) -> NoReturn:
    """Raises the only failure as it is, several as a SeveralHostsError. `hosts` is how many were tried."""
    if len(failures) == 1:
        raise failures[0]
    raise SeveralHostsError(failures, hosts)


def failures_in(error: ProvisionError) -> list[ProvisionError]:
    """The errors of single hosts that make up an error of `for_each`."""
    return list(error.failures) if isinstance(error, SeveralHostsError) else [error]
