"""`provision nodes …`: hosts come, go and are replaced."""

import functools
import shlex
from collections.abc import Callable, Sequence
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
    Work,
    connected,
    run_to_end,
    sudo_password,
    working_on,
)

if TYPE_CHECKING:
    from inventory.model import ClusterSpec, HostSpec
    from provisioner.actions.change_masters import Plan
    from provisioner.actions.pending_change import PendingChange
    from provisioner.actions.plan_masters import Change
    from provisioner.execution.actions import ActionPlan
    from provisioner.phases.run import Run
    from provisioner.state import ClusterRecord

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
    from provisioner.actions.begin_change import first_change, resumed_change
    from provisioner.actions.describe import describe_record
    from provisioner.actions.grown import grown
    from provisioner.actions.joining import joining
    from provisioner.actions.pending_change import begun

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    typed = _typed("add", name, *(("--control-plane",) if control_plane else ()), count=count, inventory=inventory)
    wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
    planned = functools.partial(plan_is_wanted, digest=digest, dry_run=dry_run, as_json=as_json)
    with working_on(name, as_json, how) as work:
        home, record = work.home, work.record
        spec = describe_record(home, record)
        pending = begun(home, typed)
        if pending:
            change = resumed_change(home, "nodes add", pending, dead=False)
            names, done = list(pending.coming), _carry_out(work.run(spec), change, pending, wanted, resumed=True)
        elif coming := joining(home, spec, typed):
            names, done = [host.name for host in coming], _add_workers(work, spec, record, coming, typed, planned)
        else:
            spec, record, new = grown(home, count, inventory, control_plane=control_plane)
            plan_nodes.check_addition(spec, new)
            names = [host.name for host in new]
            change, begins = first_change(home, "nodes add", record, new, (), dead=False, command=typed)
            if change.concerns_masters:
                done = _carry_out(work.run(change.before), change, begins, wanted, resumed=False)
            else:
                done = _add_workers(work, spec, record, new, typed, planned)
        if done:
            many = f"{len(names)} more {'master' if control_plane else 'node'}{'s' if len(names) > 1 else ''}"
            work.say(f"Cluster {name} has {many}: {', '.join(names)}.", cluster=name, added=names)


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
    with working_on(name, as_json, how) as work:
        home, record = work.home, work.record
        spec = describe_record(home, record)
        if pending := begun(home, typed):
            change, names = resumed_change(home, "nodes remove", pending, dead=dead), list(pending.going)
        else:
            going = plan_nodes.hosts_named(spec, hosts)
            left, names = without(record, spec, going), [host.name for host in going]
            change, begins = first_change(home, "nodes remove", left, (), going, dead=dead, command=typed)
        run = work.run(spec)
        if pending or change.concerns_masters:
            wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
            if not _carry_out(run, change, pending or begins, wanted, drain_timeout, resumed=bool(pending)):
                return
        else:
            plan = plan_nodes.plan_removal(spec, going, dead=dead)
            if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                return
            work.finish(run, remove_nodes(run, going, left, dead=dead, patience=drain_timeout))
        work.say(f"Cluster {name} is without {', '.join(names)}.", cluster=name, removed=names)


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
    with working_on(name, as_json, how) as work:
        home = work.home
        spec = describe_record(home, work.record)
        pending = begun(home, typed)
        resumed = pending is not None
        if pending:
            change = resumed_change(home, "nodes replace", pending, dead=dead)
        else:
            going = plan_nodes.hosts_named(spec, hosts)
            _, after, new = replaced(home, going, inventory)
            change, pending = first_change(home, "nodes replace", after, new, going, dead=dead, command=typed)
        wanted = _wanted(digest, dry_run=dry_run, as_json=as_json)
        if not _carry_out(work.run(spec), change, pending, wanted, drain_timeout, resumed=resumed):
            return
        pairs = ", ".join(f"{new} for {old}" for new, old in zip(pending.coming, pending.going, strict=True))
        added, removed = list(pending.coming), list(pending.going)
        work.say(f"Cluster {name} has {pairs}.", cluster=name, added=added, removed=removed)


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


def _add_workers(
    work: "Work",
    spec: "ClusterSpec",
    record: "ClusterRecord",
    coming: "Sequence[HostSpec]",
    typed: "Sequence[str]",
    planned: "Callable[[ActionPlan], bool]",
) -> bool:
    """Whether it was wanted."""
    from provisioner.actions.add_nodes import add_nodes
    from provisioner.actions.joining import begin_joining, end_joining
    from provisioner.actions.plan_nodes import plan_addition

    if not planned(plan_addition(spec, coming)):
        return False
    begin_joining(work.home, typed, [host.name for host in coming])
    run = work.run(spec, record)
    work.finish(run, add_nodes(run, coming, record))
    end_joining(work.home)
    return True
