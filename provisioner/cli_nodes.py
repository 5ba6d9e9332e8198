"""`provision nodes …`: hosts come and go."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.command_line import (
    ACCEPT_NEW_HOST_KEYS,
    ASK_BECOME_PASS,
    DRY_RUN,
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
from provisioner.errors import InventoryError

if TYPE_CHECKING:
    from provisioner.execution.actions import ActionPlan

NAME = click.argument("name")
PLAN = click.option("--plan", "digest", default="", metavar="DIGEST", help="Do what a dry run printed, or nothing.")


@click.group()
def nodes() -> None:
    """Grow and shrink a cluster."""


@nodes.command()
@NAME
@click.option("--count", type=click.IntRange(1, 100), help="How many more local machines (default 1).")
@click.option("--inventory", type=click.Path(path_type=Path), help="The file with new hosts in it, of other clusters.")
@DRY_RUN
@PLAN
@JSON
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def add(
    name: str,
    count: int | None,
    inventory: Path | None,
    dry_run: bool,
    digest: str,
    as_json: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Add workers. Only they are touched, and one master is asked."""
    from provisioner.actions import plan_nodes
    from provisioner.actions.add_nodes import add_nodes
    from provisioner.actions.grown import grown

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        with home.lock():
            spec, record, new = grown(home, count, inventory)
            plan_nodes.check_addition(spec, new)
            plan = plan_nodes.plan_addition(spec, new)
            if not _told(plan, digest, dry_run=dry_run, as_json=as_json):
                return
            run = new_run(home, spec, record, progress, how)
            run_to_end(connected(run, add_nodes(run, new, record)))
        progress.end()
        names = [host.name for host in new]
        if as_json:
            print_json({"event": "done", "cluster": name, "added": names})
        else:
            click.echo(f"Cluster {name} has {len(names)} more node{'s' if len(names) > 1 else ''}: {', '.join(names)}.")


@nodes.command()
@NAME
@click.argument("hosts", nargs=-1, required=True)
@click.option("--dead", is_flag=True, help="They do not answer and will not: their Pods are given up.")
@click.option("--drain-timeout", type=float, default=300.0, show_default=True, help="Seconds that Pods get to move.")
@DRY_RUN
@PLAN
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
    """Take workers out: evict their Pods, clean the hosts, delete the Nodes."""
    from provisioner.actions import plan_nodes
    from provisioner.actions.describe import describe_record
    from provisioner.actions.remove_nodes import remove_nodes

    how = HowToReach(False, sudo_password(ask_become_pass))
    with reported(as_json) as progress:
        home = home_of(name)
        record = require_record(home)
        with home.lock():
            spec = describe_record(home, record)
            going = plan_nodes.hosts_named(spec, hosts)
            plan_nodes.check_removal(spec, going)
            if not _told(plan_nodes.plan_removal(spec, going, dead=dead), digest, dry_run=dry_run, as_json=as_json):
                return
            names = [host.name for host in going]
            left = dataclasses.replace(
                record,
                absent=tuple(sorted({*record.absent, *names})),
                roles=plan_nodes.roles_of(spec, without=names),
            )
            run = new_run(home, spec, record, progress, how)
            run_to_end(connected(run, remove_nodes(run, going, left, dead=dead, patience=drain_timeout)))
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "removed": names})
        else:
            click.echo(f"Cluster {name} is without {', '.join(names)}.")


def _told(plan: "ActionPlan", digest: str, *, dry_run: bool, as_json: bool) -> bool:
    """Whether to go on: a dry run prints the plan and ends, a digest has to be this plan's. Raises InventoryError."""
    if digest and digest != plan.digest:
        raise InventoryError(
            f"plan {digest} is not what would be done now", why=f"what was found makes plan {plan.digest}",
            next_step="Look at it with --dry-run, and give its digest.",
        )  # fmt: skip
    if not dry_run:
        return True
    if as_json:
        actions = [dataclasses.asdict(action) for action in plan]
        print_json({"event": "plan", "digest": plan.digest, "actions": actions})
    else:
        for line in plan.lines():
            click.echo(line)
        click.echo(f"{len(plan)} actions, plan {plan.digest}")
    return False
