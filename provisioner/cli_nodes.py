"""`provision nodes …`: hosts come, go and are replaced."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import (
    ACCEPT_NEW_HOST_KEYS,
    ASK_BECOME_PASS,
    JSON,
    SKIP,
    HowToReach,
    connected,
    home_of,
    new_run,
    print_json,
    reported,
    require_record,
    run_to_end,
    sudo_password,
)

if TYPE_CHECKING:
    from provisioner.actions.change_masters import Plan
    from provisioner.actions.pending_change import PendingChange
    from provisioner.actions.plan_masters import Change
    from provisioner.phases.run import Run

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

NAME = click.argument("name")
INVENTORY = click.option(
    "--inventory", type=click.Path(path_type=Path), help="The file with new hosts in it, of other clusters."
)
DEAD = click.option("--dead", is_flag=True, help="They do not answer and will not: their Pods are given up.")
DRAIN_TIMEOUT = click.option(
    "--drain-timeout", type=float, default=300.0, show_default=True, help="Seconds that Pods get to move."
)


@click.group()
def nodes() -> None:
    """Grow and shrink a cluster, and replace its hosts."""


@nodes.command()
@NAME
@click.option("--count", type=click.IntRange(1, 100), help="How many more local machines (default 1).")
@click.option("--control-plane", is_flag=True, help="They become masters, each with a member of etcd.")
@INVENTORY
@DRY_RUN_PLAN
@JSON
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def add(
    name: str,
    count: int | None,
    control_plane: bool,
    inventory: Path | None,
    dry_run: bool,
    digest: str,
    as_json: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Add workers, or masters. Workers are touched alone; that there are other masters is told to all hosts."""
    from provisioner.actions import plan_nodes
    from provisioner.actions.add_nodes import add_nodes
    from provisioner.actions.begin_change import first_change, resumed_change
    from provisioner.actions.grown import grown
    from provisioner.actions.pending_change import begun

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    typed = _typed("add", name, *(("--control-plane",) if control_plane else ()), count=count, inventory=inventory)
    with reported(as_json) as progress:
        home = home_of(name)
        have = require_record(home)
        with home.lock():
            if pending := begun(home, typed):
                change = resumed_change(home, "nodes add", pending, dead=False)
                names = list(pending.coming)
            else:
                spec, record, new = grown(home, count, inventory, control_plane=control_plane)
                plan_nodes.check_addition(spec, new)
                names = [host.name for host in new]
                change, begins = first_change(home, "nodes add", record, new, (), dead=False, command=typed)
            if pending or change.concerns_masters:
                run = new_run(home, change.before, have, progress, how)
                wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
                if not _carry_out(run, change, pending or begins, wanted, resumed=bool(pending)):
                    return
            else:
                plan = plan_nodes.plan_addition(spec, new)
                if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                    return
                run = new_run(home, spec, record, progress, how)
                run_to_end(connected(run, add_nodes(run, new, record)))
        progress.end()
        many = f"{len(names)} more {'master' if control_plane else 'node'}{'s' if len(names) > 1 else ''}"
        _tell(as_json, {"cluster": name, "added": names}, f"Cluster {name} has {many}: {', '.join(names)}.")


@nodes.command()
@NAME
@click.argument("hosts", nargs=-1, required=True)
@DEAD
@DRAIN_TIMEOUT
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def remove(
    name: str,
    hosts: tuple[str, ...],
    dead: bool,
    drain_timeout: float,
    dry_run: bool,
    digest: str,
    as_json: bool,
    ask_become_pass: bool,
) -> None:
    """Take hosts out: evict their Pods, clean the hosts, delete the Nodes. Masters leave etcd first, two at a time."""
    from provisioner.actions import plan_nodes
    from provisioner.actions.begin_change import first_change, resumed_change, without
    from provisioner.actions.describe import describe_record
    from provisioner.actions.pending_change import begun
    from provisioner.actions.remove_nodes import remove_nodes

    how = HowToReach(False, sudo_password(ask_become_pass))
    typed = _typed("remove", name, *hosts)
    with reported(as_json) as progress:
        home = home_of(name)
        record = require_record(home)
        with home.lock():
            spec = describe_record(home, record)
            if pending := begun(home, typed):
                change, names = resumed_change(home, "nodes remove", pending, dead=dead), list(pending.going)
            else:
                going = plan_nodes.hosts_named(spec, hosts)
                left, names = without(record, spec, going), [host.name for host in going]
                change, begins = first_change(home, "nodes remove", left, (), going, dead=dead, command=typed)
            run = new_run(home, spec, record, progress, how)
            if pending or change.concerns_masters:
                wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
                if not _carry_out(run, change, pending or begins, wanted, drain_timeout, resumed=bool(pending)):
                    return
            else:
                plan = plan_nodes.plan_removal(spec, going, dead=dead)
                if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                    return
                run_to_end(connected(run, remove_nodes(run, going, left, dead=dead, patience=drain_timeout)))
        progress.end()
        _tell(as_json, {"cluster": name, "removed": names}, f"Cluster {name} is without {', '.join(names)}.")


@nodes.command()
@NAME
@click.argument("hosts", nargs=-1, required=True)
@INVENTORY
@DEAD
@DRAIN_TIMEOUT
@DRY_RUN_PLAN
@JSON
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def replace(
    name: str,
    hosts: tuple[str, ...],
    inventory: Path | None,
    dead: bool,
    drain_timeout: float,
    dry_run: bool,
    digest: str,
    as_json: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Put a new host in the place of each of these, alive or dead, masters and the first of them included."""
    from provisioner.actions import plan_nodes
    from provisioner.actions.begin_change import first_change, resumed_change
    from provisioner.actions.describe import describe_record
    from provisioner.actions.grown import replaced
    from provisioner.actions.pending_change import begun

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    typed = _typed("replace", name, *hosts, inventory=inventory)
    with reported(as_json) as progress:
        home = home_of(name)
        record = require_record(home)
        with home.lock():
            spec = describe_record(home, record)
            pending = begun(home, typed)
            if pending:
                change = resumed_change(home, "nodes replace", pending, dead=dead)
            else:
                going = plan_nodes.hosts_named(spec, hosts)
                _, after, new = replaced(home, going, inventory)
                change, pending = first_change(home, "nodes replace", after, new, going, dead=dead, command=typed)
            run = new_run(home, spec, record, progress, how)
            wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
            resumed = begun(home, typed) is not None
            if not _carry_out(run, change, pending, wanted, drain_timeout, resumed=resumed):
                return
        progress.end()
        pairs = ", ".join(f"{new} for {old}" for new, old in zip(pending.coming, pending.going, strict=True))
        done = {"cluster": name, "added": list(pending.coming), "removed": list(pending.going)}
        _tell(as_json, done, f"Cluster {name} has {pairs}.")


def _typed(verb: str, name: str, *words: str, count: int | None = None, inventory: Path | None = None) -> list[str]:
    """The command, as it may be typed again."""
    options = [f"--count={count}"] if count else []
    options += [f"--inventory={shlex.quote(str(inventory))}"] if inventory else []
    return ["provision", "nodes", verb, name, *words, *options]


def _wanted(digest: str, *, dry_run: bool, as_json: bool) -> "Callable[[Plan], bool]":
    return lambda plan: plan_is_wanted(plan.actions, digest, dry_run=dry_run, as_json=as_json)


def _carry_out(
    run: "Run",
    change: "Change",
    pending: "PendingChange",
    wanted: "Callable[[Plan], bool]",
    patience: float = 300.0,
    *,
    resumed: bool,
) -> bool:
    """Whether it was wanted."""
    from provisioner.actions.begin_change import carry_out_change

    work = carry_out_change(run, change, pending, wanted, patience=patience, resumed=resumed)
    return run_to_end(connected(run, work)) is not None


def _tell(as_json: bool, done: dict[str, Any], words: str) -> None:
    if as_json:
        print_json({"event": "done", **done})
    else:
        click.echo(words)
