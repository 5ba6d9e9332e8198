"""`provision …`: arguments in, one action out. No decisions. Exit codes: `command_line`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner import commands
from provisioner.cli_certs import certs
from provisioner.cli_diagnose import diagnose
from provisioner.cli_etcd import etcd
from provisioner.cli_federation import federation
from provisioner.cli_host_keys import accept_key
from provisioner.cli_nodes import nodes
from provisioner.cli_os_update import os_update
from provisioner.cli_report import report
from provisioner.cli_runbook import runbook
from provisioner.cli_secrets import secrets
from provisioner.cli_upgrade import bundle, upgrade
from provisioner.command_line import (
    ACCEPT_NEW_HOST_KEYS,
    ASK_BECOME_PASS,
    DRY_RUN,
    FORGET_UNREACHABLE,
    JSON,
    PROVIDER,
    SKIP,
    HowToReach,
    connected,
    home_of,
    known_run,
    new_run,
    print_json,
    reported,
    require_record,
    run_to_end,
    sudo_password,
)
from provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from provisioner.state import ClusterHome

NAME = click.argument("name", default="dev")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def provision() -> None:
    """Make machines that answer SSH into Kubernetes clusters, and keep them so."""


provision.add_command(certs)
provision.add_command(diagnose)
provision.add_command(etcd)
provision.add_command(federation)
provision.add_command(nodes)
provision.add_command(os_update)
nodes.add_command(accept_key)
provision.add_command(report)
provision.add_command(runbook)
provision.add_command(secrets)
provision.add_command(upgrade)
provision.add_command(bundle)


@provision.command()
@NAME
@click.option("--nodes", type=int, help="How many local machines (default 1).")
@click.option("--masters", type=int, help="How many masters, instead of the default for that many machines.")
@click.option("--etcd", "etcd_members", type=int, help="How many etcd members; an odd number.")
@PROVIDER
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the hosts.")
@click.option("--region", default="", help="Region that the Nodes of local machines are labelled with.")
@click.option("--zone", default="", help="Zone that the Nodes of local machines are labelled with.")
@DRY_RUN
@JSON
@click.option("--no-merge", is_flag=True, help="Leave the user's kubeconfig alone.")
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def cluster(
    name: str,
    nodes: int | None,
    masters: int | None,
    etcd_members: int | None,
    provider: str | None,
    inventory: Path | None,
    region: str,
    zone: str,
    dry_run: bool,
    as_json: bool,
    no_merge: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Create a cluster, or bring back what differs. Safe to run twice."""
    from provisioner.actions.describe import Wish

    wish = Wish(
        nodes=nodes,
        masters=masters,
        etcd_members=etcd_members,
        provider=provider or "",
        inventory=inventory,
        region=region,
        zone=zone,
    )
    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    with reported(as_json) as progress:
        home = home_of(name)
        if dry_run:
            commands.show_plan(home, wish, progress, how, as_json=as_json)
            return
        spec, changes = commands.carry_out(home, wish, progress, how, merge=not no_merge)
        if as_json:
            print_json({"event": "done", "cluster": name, "changes": len(changes), "kubeconfig": str(home.kubeconfig)})
        elif changes:
            _tell_ready(home, len(spec.hosts), merged=not no_merge)
        else:
            click.echo(f"Nothing to do: cluster {name} is as described.")


def _tell_ready(home: "ClusterHome", nodes: int, *, merged: bool) -> None:
    from provisioner import kubeconfig

    click.echo(f"Cluster {home.name} is ready: {nodes} node{'s' if nodes > 1 else ''}.")
    if merged:
        click.echo(f"Context:    {kubeconfig.context_name(home.name)} in {kubeconfig.user_file()}")
    click.echo(f"Kubeconfig: {home.kubeconfig}")


@provision.command()
@NAME
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the hosts of a new cluster.")
@click.option("--list", "listed", is_flag=True, help="Print every check; ask no host.")
@SKIP
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
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
                print_json(told)
            else:
                click.echo(f"{check.id:<28}{check.severity:<9}{check.title}")
        return
    from provisioner.actions.check_hosts import check_hosts
    from provisioner.actions.describe import Wish, describe_record, describe_wish

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    with reported(as_json) as progress:
        home = home_of(name)
        if inventory is not None:
            spec, record = describe_wish(home, Wish(inventory=inventory))
        else:
            record = require_record(home)
            spec = describe_record(home, record)
        run = new_run(home, spec, record, progress, how)
        found = run_to_end(connected(run, check_hosts(run)))
        progress.end()
        for result in found:
            if as_json:
                told = {"check": result.check, "severity": result.severity, "host": result.host}
                print_json({"event": "finding", **told, "why": result.why, "cure": result.cure})
            else:
                click.echo(f"{result.severity}: {result}")
        errors = sum(result.severity == "error" for result in found)
        asked = len(CHECKS) - len(skipped)
        if as_json:
            print_json({"event": "checked", "checks": asked, "errors": errors, "warnings": len(found) - errors})
        else:
            click.echo(f"{asked} checks, {errors} errors, {len(found) - errors} warnings.")
        if errors:
            raise click.exceptions.Exit(3)


@provision.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Show machines, etcd members, apiservers, nodes and certificates. Reads only."""
    with reported(as_json) as progress:
        commands.show_status(home_of(name), progress, as_json=as_json)


@provision.command()
@NAME
@JSON
def verify(name: str, as_json: bool) -> None:
    """Run a workload over two nodes, ask it everything, take it away again."""
    from provisioner.actions.verify import verify_cluster

    with reported(as_json) as progress:
        checks = run_to_end(verify_cluster(known_run(home_of(name), progress), progress.line))
        if as_json:
            print_json({"event": "verified", "checks": [{"name": c.name, "ok": c.ok, "said": c.said} for c in checks]})
        if not all(check.ok for check in checks):
            raise click.exceptions.Exit(1)


@provision.command("kubeconfig")
@NAME
def print_kubeconfig(name: str) -> None:
    """Print the cluster's kubeconfig; without a virtual address, one that names a master that answers."""
    with reported(False) as progress:
        home = home_of(name)
        require_record(home)
        if not home.kubeconfig.exists():
            raise ProvisionError(
                f"cluster {name} has no kubeconfig yet", why="its certificates were not issued",
                next_step=f"Run `provision cluster {name}`; it goes on where it stopped.",
            )  # fmt: skip
        from provisioner.actions.ways_in import ensure_answering

        run_to_end(ensure_answering(known_run(home, progress)))
        click.echo(home.kubeconfig.read_text(), nl=False)


@provision.command()
@NAME
@JSON
@ASK_BECOME_PASS
@FORGET_UNREACHABLE
def destroy(name: str, as_json: bool, ask_become_pass: bool, forget_unreachable: bool) -> None:
    """Remove a cluster, and only what was made for it."""
    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        commands.take_away(
            home_of(name), progress, as_json=as_json, password=password, forget_unreachable=forget_unreachable
        )


@provision.group()
def machines() -> None:
    """Lose a local machine, and boot it again."""


@machines.command("kill")
@click.argument("name")
@click.argument("machine")
def kill(name: str, machine: str) -> None:
    """Take a local machine's power away, at once."""
    with reported(False):
        commands.kill(home_of(name), machine)


@machines.command("start")
@click.argument("name")
@click.argument("machine")
def start(name: str, machine: str) -> None:
    """Boot a local machine again, with all that is on its disks."""
    with reported(False):
        commands.start(home_of(name), machine)


@provision.command()
def schema() -> None:
    """Print the JSON Schema of an inventory file."""
    from inventory.json_schema import inventory_schema

    click.echo(json.dumps(inventory_schema(), indent=2))


def main() -> None:
    """The entry point."""
    provision(prog_name="provision")
