"""
What every command of `provision` has in common: which cluster or federation, a run, and how it is reported.

Exit codes: 0 done, 2 the description is wrong, 3 a host is unfit, 4 a host cannot be reached, 1 anything else;
130 after Ctrl-C. The actions are imported when they are called: `provision schema` needs no SSH.
"""

import asyncio
import contextlib
import getpass
import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from inventory.faults import DescriptionError
from provisioner.errors import InventoryError, ProvisionError

if TYPE_CHECKING:  # the real import costs 0.3 s, which `--help` and `schema` should not pay
    from provisioner.phases.run import Run
    from provisioner.progress import Progress
    from provisioner.state import ClusterHome, ClusterRecord

ResultT = TypeVar("ResultT")

CLUSTER, FEDERATION = "cluster", "federation"
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for scripts.")
ASK_BECOME_PASS = click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password of the hosts.")
FORGET_UNREACHABLE = click.option(
    "--forget-unreachable", is_flag=True, help="Give up hosts that do not answer; they keep what they have."
)
ACCEPT_NEW_HOST_KEYS = click.option(
    "--accept-new-host-keys", is_flag=True, help="Pin the keys of hosts that were never seen."
)
PROVIDER = click.option(
    "--provider", type=click.Choice(["local", "static"]), default=None, help="Who makes the machines."
)
SKIP = click.option("--skip-check", "skipped", multiple=True, metavar="ID", help="Leave out one check of preflight.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")


def sudo_password(wanted: bool) -> str:
    """Asked for at the terminal; empty when it is not wanted."""
    return getpass.getpass("sudo password: ") if wanted else ""


def home_of(name: str, kind: str = CLUSTER) -> "ClusterHome":
    from provisioner.state import ClusterHome, hanse_home

    return ClusterHome(hanse_home(), name, kind=kind)


def require_record(home: "ClusterHome") -> "ClusterRecord":
    from provisioner.state import cluster_names, hanse_home

    record = home.read_record()
    if record is None:
        known = ", ".join(cluster_names(hanse_home(), home.kind)) or "none"
        making = "federation init" if home.kind == FEDERATION else "cluster"
        raise InventoryError(
            f"there is no {home.kind} {home.name}", why=f"{home.kind}s in {hanse_home()}: {known}",
            next_step=f"Make it with `provision {making} {home.name} --nodes 3`, or set HANSE_HOME.",
        )  # fmt: skip
    return record


def known_run(home: "ClusterHome", progress: "Progress", password: str = "") -> "Run":
    """Of what exists. Raises InventoryError."""
    from provisioner.actions.describe import describe_record

    record = require_record(home)
    return new_run(home, describe_record(home, record), record, progress, HowToReach(password=password))


@dataclass(frozen=True, slots=True)
class HowToReach:
    """What the command line says about getting to hosts and what is asked of them there."""

    accept_new_host_keys: bool = False
    password: str = ""
    """sudo's."""
    skipped: tuple[str, ...] = ()
    """Ids of checks."""

    @classmethod
    def asking(cls, ask_become_pass: bool, **more: Any) -> "HowToReach":
        """With sudo's password from the terminal if it is wanted."""
        return cls(password=sudo_password(ask_become_pass), **more)


def new_run(home: "ClusterHome", spec: Any, record: "ClusterRecord", progress: "Progress", how: HowToReach) -> "Run":
    """Raises InventoryError for a check that there is none of."""
    from provisioner.actions.describe import machine_provider
    from provisioner.phases.run import Run
    from provisioner.preflight.run import require_known
    from provisioner.transports.ssh import SshAccess

    require_known(how.skipped)
    access = SshAccess(
        known_hosts=home.known_hosts, accept_new_host_keys=how.accept_new_host_keys, become_password=how.password
    )
    provider = machine_provider(home, record)
    return Run(
        spec=spec, home=home, provider=provider, access=access, progress=progress, skipped_checks=frozenset(how.skipped)
    )


async def connected(run: "Run", action: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The action, and then every connection closed, however it ended."""
    from provisioner.phases.connect import disconnect

    try:
        return await action
    finally:
        await disconnect(run)


def run_to_end(action: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run an action; SIGTERM ends it as Ctrl-C does, with everything it opened closed."""

    async def guarded() -> ResultT:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run makes one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await action

    return asyncio.run(guarded())


@contextlib.contextmanager
def reported(as_json: bool) -> Iterator["Progress"]:
    """The right kind of progress, and errors turned into words and exit codes."""
    code = 0
    try:
        with _progress(as_json) as progress:
            yield progress
    except* (ProvisionError, DescriptionError) as group:
        failures = list(_leaves(group))
        for error in failures:
            _print_failure(error, as_json)
        code = max(_exit_code(error) for error in failures)
    except* (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Stopped. The same command goes on where it was.", err=True)
        code = 130
    if code:
        raise click.exceptions.Exit(code)


@dataclass(slots=True)
class Work:
    """One command on a cluster that exists: what it runs with, and how it says that it is done."""

    home: "ClusterHome"
    record: "ClusterRecord"
    progress: "Progress"
    how: HowToReach
    as_json: bool

    def run(self, spec: Any = None, record: "ClusterRecord | None" = None) -> "Run":
        """Of the cluster as it is recorded, unless another description is given. Raises InventoryError."""
        from provisioner.actions.describe import describe_record

        record = record or self.record
        return new_run(self.home, spec or describe_record(self.home, record), record, self.progress, self.how)

    def finish(self, run: "Run", action: Coroutine[Any, Any, ResultT]) -> ResultT:
        """What the action returns; its connections are closed, however it ended."""
        return run_to_end(connected(run, action))

    def say(self, text: str, **facts: Any) -> None:
        """The last word: a sentence for people, or an event `done` with the facts."""
        self.progress.end()
        if self.as_json:
            print_json({"event": "done", **facts})
        else:
            click.echo(text)


@contextlib.contextmanager
def working_on(
    name: str, as_json: bool, how: HowToReach, *, kind: str = CLUSTER, changes: bool = True
) -> Iterator[Work]:
    """
    The frame of every command on a cluster that exists: errors become words and exit codes, there is a record, and
    nobody else changes it meanwhile.

    Args:
        name: of the cluster, or federation.
        as_json: how to say what happens.
        how: to reach hosts.
        kind: CLUSTER or FEDERATION.
        changes: whether the lock is needed.
    """
    with reported(as_json) as progress:
        home = home_of(name, kind)
        record = require_record(home)
        with home.lock() if changes else contextlib.nullcontext():
            # Again: whoever held the lock until now may have changed it.
            yield Work(home, require_record(home) if changes else record, progress, how, as_json)


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator["Progress"]:
    from provisioner.progress import JsonProgress, LiveProgress, PlainProgress

    if as_json:
        yield JsonProgress()
    elif sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        with LiveProgress(Console(stderr=True)) as live:
            yield live
    else:
        yield PlainProgress(sys.stderr)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, ProvisionError) else 2


def _print_failure(error: Exception, as_json: bool) -> None:
    if not as_json:
        click.echo(f"Error: {error}", err=True)
    elif isinstance(error, DescriptionError):
        faults = [
            {"path": list(f.path), "message": f.message, "line": f.line, "column": f.column} for f in error.faults
        ]
        print_json({"event": "error", "exit_code": 2, "source": error.source, "faults": faults})
    elif isinstance(error, ProvisionError):
        said = {"what": error.what, "why": error.why, "next_step": error.next_step, "host": error.host}
        print_json({"event": "error", "exit_code": error.exit_code, **said})


def print_json(value: Any) -> None:
    click.echo(json.dumps(value))
