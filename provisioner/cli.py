"""
`provision …`: arguments in, one action out, an exit code. No decisions.

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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from inventory.faults import DescriptionError
from provisioner.errors import InventoryError, ProvisionError

if TYPE_CHECKING:  # the real import costs 0.3 s, which `--help` and `schema` should not pay
    from provisioner.actions.describe import Wish
    from provisioner.phases.run import Run
    from provisioner.progress import Progress
    from provisioner.state import ClusterHome, ClusterRecord

ResultT = TypeVar("ResultT")

NAME = click.argument("name", default="dev")
SKIP = click.option("--skip-check", "skipped", multiple=True, metavar="ID", help="Leave out one check of preflight.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for scripts.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def provision() -> None:
    """Make machines that answer SSH into Kubernetes clusters, and keep them so."""


@provision.command()
@NAME
@click.option("--nodes", type=int, help="How many local machines (default 1).")
@click.option("--masters", type=int, help="How many masters, instead of the default for that many machines.")
@click.option("--etcd", "etcd_members", type=int, help="How many etcd members; an odd number.")
@click.option("--provider", type=click.Choice(["local", "static"]), default=None, help="Who makes the machines.")
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the hosts.")
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@JSON
@click.option("--no-merge", is_flag=True, help="Leave the user's kubeconfig alone.")
@click.option("--accept-new-host-keys", is_flag=True, help="Pin the keys of hosts that were never seen.")
@click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password of the hosts.")
@SKIP
def cluster(
    name: str,
    nodes: int | None,
    masters: int | None,
    etcd_members: int | None,
    provider: str | None,
    inventory: Path | None,
    dry_run: bool,
    as_json: bool,
    no_merge: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Create a cluster, or bring back what differs. Safe to run twice."""
    from provisioner.actions.describe import Wish

    wish = Wish(nodes=nodes, masters=masters, etcd_members=etcd_members, provider=provider or "", inventory=inventory)
    password = getpass.getpass("sudo password: ") if ask_become_pass else ""
    with _reported(as_json) as progress:
        if dry_run:
            _plan(name, wish, progress, as_json, accept_new_host_keys, password, skipped)
        else:
            _apply(name, wish, progress, as_json, not no_merge, accept_new_host_keys, password, skipped)


def _plan(
    name: str,
    wish: "Wish",
    progress: "Progress",
    as_json: bool,
    accept: bool,
    password: str,
    skipped: tuple[str, ...],
) -> None:
    from provisioner.actions.apply import plan_cluster
    from provisioner.actions.describe import describe_wish

    home = _home(name)
    spec, record = describe_wish(home, wish)
    run = _new_run(home, spec, record, progress, accept, password, skipped)
    changes = _await(_connected(run, plan_cluster(run)))
    progress.end()
    if as_json:
        _print_json({"event": "plan", "changes": [{"phase": c.phase, "host": c.host, "what": c.what} for c in changes]})
        return
    phase = ""
    for change in changes:
        if change.phase != phase:
            phase = change.phase
            click.echo(phase)
        click.echo(f"  {change}")
    click.echo(f"{len(changes)} changes" if changes else f"Nothing to do: cluster {name} is as described.")


def _apply(
    name: str,
    wish: "Wish",
    progress: "Progress",
    as_json: bool,
    merge: bool,
    accept: bool,
    password: str,
    skipped: tuple[str, ...],
) -> None:
    from provisioner import kubeconfig
    from provisioner.actions.apply import apply_cluster
    from provisioner.actions.describe import describe_wish

    home = _home(name)
    existed = home.path.exists()
    spec, record = describe_wish(home, wish)
    with home.lock():
        run = _new_run(home, spec, record, progress, accept, password, skipped)
        try:
            changes = _await(_connected(run, apply_cluster(run, record)))
        except BaseException:
            if not existed and home.read_record() is None:
                home.remove()  # nothing was made, so nothing is remembered
            raise
        if merge:
            kubeconfig.merge_into_file(kubeconfig.user_file(), kubeconfig.read(home.kubeconfig))
    progress.end()
    if as_json:
        _print_json({"event": "done", "cluster": name, "changes": len(changes), "kubeconfig": str(home.kubeconfig)})
    elif changes:
        count = len(spec.hosts)
        click.echo(f"Cluster {name} is ready: {count} node{'s' if count > 1 else ''}.")
        if merge:
            click.echo(f"Context:    {kubeconfig.context_name(name)} in {kubeconfig.user_file()}")
        click.echo(f"Kubeconfig: {home.kubeconfig}")
    else:
        click.echo(f"Nothing to do: cluster {name} is as described.")


@provision.command()
@NAME
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the hosts of a new cluster.")
@click.option("--list", "listed", is_flag=True, help="Print every check; ask no host.")
@SKIP
@click.option("--accept-new-host-keys", is_flag=True, help="Pin the keys of hosts that were never seen.")
@click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password of the hosts.")
@JSON
def preflight(
    name: str,
    inventory: Path | None,
    listed: bool,
    skipped: tuple[str, ...],
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    as_json: bool,
) -> None:
    """Ask hosts everything that a cluster needs of them. Changes nothing."""
    from provisioner.preflight.checks import CHECKS

    if listed:
        for check in CHECKS:
            told = {"id": check.id, "severity": check.severity, "title": check.title, "cure": check.cure}
            if as_json:
                _print_json(told)
            else:
                click.echo(f"{check.id:<28}{check.severity:<9}{check.title}")
        return
    from provisioner.actions.check_hosts import check_hosts
    from provisioner.actions.describe import Wish, describe_record, describe_wish

    password = getpass.getpass("sudo password: ") if ask_become_pass else ""
    with _reported(as_json) as progress:
        home = _home(name)
        if inventory is not None:
            spec, record = describe_wish(home, Wish(inventory=inventory))
        else:
            record = _require_record(home)
            spec = describe_record(home, record)
        run = _new_run(home, spec, record, progress, accept_new_host_keys, password, skipped)
        found = _await(_connected(run, check_hosts(run)))
        progress.end()
        for result in found:
            if as_json:
                told = {"check": result.check, "severity": result.severity, "host": result.host}
                _print_json({"event": "finding", **told, "why": result.why, "cure": result.cure})
            else:
                click.echo(f"{result.severity}: {result}")
        errors = sum(result.severity == "error" for result in found)
        asked = len(CHECKS) - len(skipped)
        if as_json:
            _print_json({"event": "checked", "checks": asked, "errors": errors, "warnings": len(found) - errors})
        else:
            click.echo(f"{asked} checks, {errors} errors, {len(found) - errors} warnings.")
        if errors:
            raise click.exceptions.Exit(3)


@provision.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Show machines, etcd members, apiservers, nodes and certificates. Reads only."""
    from provisioner.actions.show_status import read_status
    from provisioner.actions.status_text import status_lines

    with _reported(as_json) as progress:
        found = _await(read_status(_known_run(name, progress)))
        if as_json:
            _print_json(found.to_json())
        else:
            for line in status_lines(found):
                click.echo(line)
        if not found.healthy:
            raise click.exceptions.Exit(1)


@provision.command()
@NAME
@JSON
def verify(name: str, as_json: bool) -> None:
    """Run a workload over two nodes, ask it everything, take it away again."""
    from provisioner.actions.verify import verify_cluster

    with _reported(as_json) as progress:
        checks = _await(verify_cluster(_known_run(name, progress), progress.line))
        if as_json:
            _print_json({"event": "verified", "checks": [{"name": c.name, "ok": c.ok, "said": c.said} for c in checks]})
        if not all(check.ok for check in checks):
            raise click.exceptions.Exit(1)


@provision.command("kubeconfig")
@NAME
def print_kubeconfig(name: str) -> None:
    """Print the cluster's kubeconfig."""
    with _reported(False):
        home = _home(name)
        _require_record(home)
        if not home.kubeconfig.exists():
            raise ProvisionError(
                f"cluster {name} has no kubeconfig yet", why="its certificates were not issued",
                next_step=f"Run `provision cluster {name}`; it goes on where it stopped.",
            )  # fmt: skip
        click.echo(home.kubeconfig.read_text(), nl=False)


@provision.command()
@NAME
@JSON
@click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password of the hosts.")
@click.option("--forget-unreachable", is_flag=True, help="Give up hosts that do not answer; they keep what they have.")
def destroy(name: str, as_json: bool, ask_become_pass: bool, forget_unreachable: bool) -> None:
    """Remove a cluster, and only what was made for it."""
    from provisioner.actions.reset import destroy_cluster

    password = getpass.getpass("sudo password: ") if ask_become_pass else ""
    with _reported(as_json) as progress:
        home = _home(name)
        _require_record(home)
        with home.lock():
            run = _known_run(name, progress, password)
            _await(_connected(run, destroy_cluster(run, forget_unreachable=forget_unreachable)))
        progress.end()
        if as_json:
            _print_json({"event": "destroyed", "cluster": name})
        else:
            click.echo(f"Cluster {name} is gone.")


@provision.group()
def machines() -> None:
    """Lose a local machine, and boot it again."""


@machines.command("kill")
@click.argument("name")
@click.argument("machine")
def kill(name: str, machine: str) -> None:
    """Take a local machine's power away, at once."""
    from provisioner.actions.describe import describe_record
    from provisioner.actions.machines import kill_machine

    with _reported(False):
        home = _home(name)
        record = _require_record(home)
        ran = kill_machine(home, record, describe_record(home, record), machine)
        click.echo(f"{machine} is dead." if ran else f"{machine} was not running.")


@machines.command("start")
@click.argument("name")
@click.argument("machine")
def start(name: str, machine: str) -> None:
    """Boot a local machine again, with all that is on its disks."""
    from provisioner.actions.describe import describe_record
    from provisioner.actions.machines import start_machine

    with _reported(False):
        home = _home(name)
        record = _require_record(home)
        with home.lock():
            started = start_machine(home, record, describe_record(home, record), machine)
        click.echo(f"{machine} boots." if started else f"{machine} runs already.")


@provision.command()
def schema() -> None:
    """Print the JSON Schema of an inventory file."""
    from inventory.json_schema import inventory_schema

    click.echo(json.dumps(inventory_schema(), indent=2))


def main() -> None:
    """The entry point."""
    provision(prog_name="provision")


def _home(name: str) -> "ClusterHome":
    from provisioner.state import ClusterHome, hanse_home

    return ClusterHome(hanse_home(), name)


def _require_record(home: "ClusterHome") -> "ClusterRecord":
    from provisioner.state import cluster_names, hanse_home

    record = home.read_record()
    if record is None:
        known = ", ".join(cluster_names(hanse_home())) or "none"
        raise InventoryError(
            f"there is no cluster {home.name}", why=f"clusters in {hanse_home()}: {known}",
            next_step=f"Make it with `provision cluster {home.name} --nodes 3`, or set HANSE_HOME.",
        )  # fmt: skip
    return record


def _known_run(name: str, progress: "Progress", password: str = "") -> "Run":
    from provisioner.actions.describe import describe_record

    home = _home(name)
    record = _require_record(home)
    return _new_run(home, describe_record(home, record), record, progress, False, password)


def _new_run(
    home: "ClusterHome",
    spec: Any,
    record: "ClusterRecord",
    progress: "Progress",
    accept: bool,
    password: str,
    skipped: tuple[str, ...] = (),
) -> "Run":
    from provisioner.actions.describe import machine_provider
    from provisioner.phases.run import Run
    from provisioner.preflight.run import require_known
    from provisioner.transports.ssh import SshAccess

    require_known(skipped)
    access = SshAccess(known_hosts=home.known_hosts, accept_new_host_keys=accept, become_password=password)
    provider = machine_provider(home, record)
    return Run(
        spec=spec, home=home, provider=provider, access=access, progress=progress, skipped_checks=frozenset(skipped)
    )


async def _connected(run: "Run", action: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The action, and then every connection closed, however it ended."""
    from provisioner.phases.connect import disconnect

    try:
        return await action
    finally:
        await disconnect(run)


def _await(action: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run an action; SIGTERM ends it as Ctrl-C does, with everything it opened closed."""

    async def guarded() -> ResultT:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run makes one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await action

    return asyncio.run(guarded())


@contextlib.contextmanager
def _reported(as_json: bool) -> Iterator["Progress"]:
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
        _print_json({"event": "error", "exit_code": 2, "source": error.source, "faults": faults})
    elif isinstance(error, ProvisionError):
        said = {"what": error.what, "why": error.why, "next_step": error.next_step, "host": error.host}
        _print_json({"event": "error", "exit_code": error.exit_code, **said})


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value))
