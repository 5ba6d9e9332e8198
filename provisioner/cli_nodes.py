"""`provision nodes …`: hosts come and go."""

import dataclasses
from pathlib import Path

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

NAME = click.argument("name")


@click.group()
def nodes() -> None:
    """Grow and shrink a cluster."""


@nodes.command()
@NAME
@click.option("--count", type=click.IntRange(1, 100), help="How many more local machines (default 1).")
@click.option("--inventory", type=click.Path(path_type=Path), help="The file with new hosts in it, of other clusters.")
@DRY_RUN_PLAN
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
            if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
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
            if not plan_is_wanted(
                plan_nodes.plan_removal(spec, going, dead=dead), digest, dry_run=dry_run, as_json=as_json
            ):
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
