"""
`provision federation …`: hosts that serve a federation. What runs there is another product's; `federate` calls this.
"""

from pathlib import Path

import click

from provisioner import commands
from provisioner.command_line import (
    ACCEPT_NEW_HOST_KEYS,
    ASK_BECOME_PASS,
    DRY_RUN,
    FEDERATION,
    FORGET_UNREACHABLE,
    JSON,
    PROVIDER,
    SKIP,
    HowToReach,
    connected,
    home_of,
    known_run,
    print_json,
    reported,
    require_record,
    run_to_end,
    sudo_password,
)

NAME = click.argument("name")


@click.group()
def federation() -> None:
    """Hosts that serve a federation; `federate` does the rest."""


@federation.command()
@NAME
@click.option("--dns-zone", default="", help="Zone that the hosts serve, e.g. fed.example.com.")
@click.option("--nodes", type=int, help="How many local machines: 1, 3 or 5 (default 1).")
@PROVIDER
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the hosts.")
@click.option("--hosts", default="", metavar="ADDRESS,…", help="Addresses of the hosts, instead of a file.")
@DRY_RUN
@JSON
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def init(
    name: str,
    dns_zone: str,
    nodes: int | None,
    provider: str | None,
    inventory: Path | None,
    hosts: str,
    dry_run: bool,
    as_json: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """Make hosts serve a federation, or bring back what differs. Safe to run twice."""
    from provisioner.actions.describe import Wish

    addresses = tuple(word.strip() for word in hosts.split(",") if word.strip())
    wish = Wish(nodes=nodes, provider=provider or "", inventory=inventory, hosts=addresses, dns_zone=dns_zone)
    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    with reported(as_json) as progress:
        home = home_of(name, FEDERATION)
        if dry_run:
            commands.show_plan(home, wish, progress, how, as_json=as_json)
            return
        spec, changes = commands.carry_out(home, wish, progress, how)
        if as_json:
            print_json(
                {
                    "event": "done",
                    "federation": name,
                    "changes": len(changes),
                    "kubeconfig": str(home.kubeconfig),
                    "server": spec.api_endpoint,
                    "servers": list(spec.api_servers),
                    "name_servers": [host.address for host in spec.hosts],
                }
            )
        elif changes:
            click.echo(f"Federation {name} is served by {', '.join(host.name for host in spec.hosts)}.")
            click.echo(f"Kubeconfig: {home.kubeconfig}")
        else:
            click.echo(f"Nothing to do: federation {name} is as described.")


@federation.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Show machines, etcd members, apiservers and certificates. Reads only."""
    with reported(as_json) as progress:
        commands.show_status(home_of(name, FEDERATION), progress, as_json=as_json)


@federation.command()
@NAME
@JSON
@ASK_BECOME_PASS
def stop(name: str, as_json: bool, ask_become_pass: bool) -> None:
    """Stop the services on the hosts; what they store stays, and `init` starts them again."""
    from provisioner.actions.stop import stop_services

    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name, FEDERATION)
        require_record(home)
        with home.lock():
            run = known_run(home, progress, password)
            stopped = run_to_end(connected(run, stop_services(run)))
        progress.end()
        if as_json:
            print_json({"event": "stopped", "federation": name, "stopped": stopped})
        else:
            click.echo(f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran.")


@federation.command()
@NAME
@JSON
@ASK_BECOME_PASS
@FORGET_UNREACHABLE
def destroy(name: str, as_json: bool, ask_become_pass: bool, forget_unreachable: bool) -> None:
    """Take a federation off its hosts, and only what was made for it."""
    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        commands.take_away(
            home_of(name, FEDERATION),
            progress,
            as_json=as_json,
            password=password,
            forget_unreachable=forget_unreachable,
        )


@federation.command()
@NAME
@click.argument("machine")
def kill(name: str, machine: str) -> None:
    """Take a local machine's power away, at once."""
    with reported(False):
        commands.kill(home_of(name, FEDERATION), machine)


@federation.command()
@NAME
@click.argument("machine")
def start(name: str, machine: str) -> None:
    """Boot a local machine again, with all that is on its disks."""
    with reported(False):
        commands.start(home_of(name, FEDERATION), machine)
