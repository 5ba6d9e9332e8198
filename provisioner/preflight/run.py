"""
Ask the hosts everything that the checks want to know: each host about itself, then all about each other.

Two commands a host and a third that calls the others; nothing is written anywhere.
"""

import asyncio
import inspect
import json
import time
from collections.abc import Collection, Sequence
from typing import Any

from inventory.model import HostSpec
from provisioner.errors import HostUnfitError, InventoryError
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.preflight import call_hosts, checks, examine_host
from provisioner.preflight.judge_network import PORTS
from provisioner.preflight.model import Examined, Fleet, Reach, Result, Subject
from provisioner.transports.base import Transport

CALL_SECONDS = 3.0
"""How long a host tries to reach another's ports before it calls them closed."""
LISTEN_SECONDS = 30.0
"""Listeners end by themselves after this, should nobody end them."""
MOST_TO_CALL = 20
"""Beyond, a host calls the ones after it in the list: every pair of neighbours and every master, not all of n²."""
_EXAMINE = inspect.getsource(examine_host).encode()
_CALL = inspect.getsource(call_hosts).encode()
_LOCAL_PORTS = frozenset([10248, 10249, 10253, 10256, 10257, 10259])
"""They listen on the host's own address or loopback for the host itself."""


def require_known(ids: Collection[str]) -> None:
    """Raises InventoryError for an id that no check has."""
    if strange := checks.unknown(ids):
        raise InventoryError(
            f"there is no check {', '.join(strange)}", why="a check is skipped by its id",
            next_step="`provision preflight --list` has them all.",
        )  # fmt: skip


async def preflight(run: Run) -> list[Result]:
    """Everything that is wrong with the hosts that are connected and whose facts are known."""
    hosts = [host for host in run.spec.hosts if host.name in run.facts and host.name in run.transports]
    examined = await for_each(hosts, lambda host: _examine(run.transport(host)))
    subjects = tuple(Subject(run.spec, host, run.facts_of(host), examined[host.name]) for host in hosts)
    return checks.judge(Fleet(run.spec, subjects, await _call_each_other(run, subjects)), run.skipped_checks)


async def _examine(transport: Transport) -> Examined:
    began = time.monotonic()
    await transport.run(["true"])
    took = time.monotonic() - began
    told = await _ask(transport, _EXAMINE, json.dumps({"fsync": ["/var/lib/etcd"]}))
    return Examined(told, took)


async def _ask(transport: Transport, source: bytes, *arguments: str) -> Any:
    result = await transport.run(["python3", "-I", "-", *arguments], stdin=source)
    if result.exit_code != 0:
        raise HostUnfitError(
            "the host cannot be examined", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Check Python on the host (`python3 --version`), then run again.", host=transport.host,
        )  # fmt: skip
    return json.loads(result.stdout)


async def _call_each_other(run: Run, subjects: Sequence[Subject]) -> tuple[Reach, ...]:
    if len(subjects) < 2:
        return ()
    listeners = [asyncio.create_task(_listen(run, subject)) for subject in subjects]
    try:
        called = await for_each(
            [subject.host for subject in subjects], lambda host: _call(run, host, _targets(host, subjects))
        )
    finally:
        for listener in listeners:
            listener.cancel()
        ended = await asyncio.gather(*listeners, return_exceptions=True)
    for end in ended:  # a host that went away meanwhile is told; being cancelled is how a listener ends
        if isinstance(end, Exception):
            raise end
    return tuple(reach for reaches in called.values() for reach in reaches)


def _targets(host: HostSpec, subjects: Sequence[Subject]) -> list[Subject]:
    """Whom a host calls: everybody in a small fleet, else those that follow it in the list."""
    names = [subject.host.name for subject in subjects]
    start = names.index(host.name) + 1
    others = [*subjects[start:], *subjects[: start - 1]]
    return others[:MOST_TO_CALL]


def _ports(subject: Subject) -> list[int]:
    return sorted(port for role in subject.host.roles for port in PORTS[role] if port not in _LOCAL_PORTS)


async def _listen(run: Run, subject: Subject) -> None:
    free = [port for port in _ports(subject) if port not in subject.facts.listening]
    question = {"ports": free, "address": subject.host.address, "seconds": LISTEN_SECONDS}
    argv = ["python3", "-I", "-", "listen", json.dumps(question)]
    await run.transport(subject.host).run(argv, stdin=_CALL)


async def _call(run: Run, host: HostSpec, targets: Sequence[Subject]) -> list[Reach]:
    size = _mtu(run, host)
    asked = [{"address": one.host.address, "ports": _ports(one), "size": size} for one in targets]
    question = json.dumps({"targets": asked, "seconds": CALL_SECONDS})
    answers = await _ask(run.transport(host), _CALL, "call", question)
    return [
        Reach(
            host.name,
            target.host.name,
            tuple(told["closed"]),
            told["seconds"] is None,
            told["whole"],
            told["seconds"] or 0.0,
        )
        for target, told in zip(targets, answers, strict=True)
    ]


def _mtu(run: Run, host: HostSpec) -> int:
    """Of the interface that holds the host's address, as far as it is known; the usual 1500 else."""
    return run.facts_of(host).mtu.get(run.facts_of(host).addresses.get(host.address, ""), 1500)
