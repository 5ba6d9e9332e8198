"""
`federate …`: arguments in, one action out, an exit code. No decisions.

Exit codes: 0 done, 2 what was asked for is wrong, 3 this host is unfit, 4 something cannot be reached, 1 anything
else; 130 after Ctrl-C.
"""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from federation.dns.providers.choose import PROVIDERS
from federation.errors import FederateError
from federation.host import home as homes
from federation.host.home import Description, Home

if TYPE_CHECKING:
    from federation.host.hosts import HostOptions
    from federation.host.provisioning import Tell

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
ASK_BECOME_PASS = click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password of the hosts.")
ACCEPT_NEW_HOST_KEYS = click.option(
    "--accept-new-host-keys", is_flag=True, help="Pin the keys of hosts that were never seen."
)
ON_THIS_HOST = (
    "data_dir", "bind_address", "secure_port", "metrics_port", "dns_port", "dns_secondaries", "dns_transfer_key_file",
    "dns_provider", "dns_servers",
    "dns_key_file", "dns_zone_id", "dns_private_zone",
)  # fmt: skip
"""What only a federation that this host serves has."""
FEDERATION = click.option("--federation", default=None, help="Which federation, when this host has several.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="hanse", prog_name="federate")
def federate() -> None:
    """Federate clusters behind one API, with DNS that follows what works."""


@federate.command()
@click.argument("name")
@click.option("--dns-zone", default=None, help="Zone of the federation's names, e.g. fed.example.com.")
@click.option("--dns-provider", type=click.Choice(PROVIDERS), default=None, help="Who serves it (default embedded).")
@click.option(
    "--dns-server",
    "dns_servers",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="rfc2136: a name server of the zone, its primary first; may be repeated.",
)
@click.option(
    "--dns-key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="rfc2136: TSIG key that may change the zone, as tsig-keygen writes it; it is copied.",
)
@click.option("--dns-zone-id", default=None, help="route53: the hosted zone; by default the one of that name.")
@click.option("--dns-private-zone", is_flag=True, default=None, help="route53: the private zone of that name.")
@click.option("--data-dir", type=click.Path(path_type=Path), default=None, help="Where the store lies.")
@click.option("--bind-address", default=None, help="Address to serve at (default 127.0.0.1).")
@click.option("--secure-port", type=click.IntRange(1, 65535), default=None, help="Port of the API (default 7443).")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of the controllers' metrics (0, the default: none).",
)
@click.option("--dns-port", type=click.IntRange(1, 65535), default=None, help="Port of the DNS server (default 10053).")
@click.option(
    "--dns-secondary",
    "dns_secondaries",
    multiple=True,
    metavar="[NAME=]ADDRESS[:PORT]",
    help="A name server that follows the zone, told of every change; may be repeated, '' for none.",
)
@click.option(
    "--dns-transfer-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TSIG key with which secondaries transfer the zone; made when there is no such file.",
)
@click.option("--hosts", default="", metavar="ADDRESS,…", help="Serve it from these hosts: one, three or five.")
@click.option("--inventory", type=click.Path(path_type=Path), help="Serve it from the hosts that this file describes.")
@click.option("--nodes", type=int, help="Serve it from so many local machines: 1, 3 or 5.")
@click.option("--provider", type=click.Choice(["local", "static"]), help="Who makes the hosts.")
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@JSON
def init(
    name: str,
    as_json: bool,
    data_dir: Path | None,
    dns_key_file: Path | None,
    hosts: str,
    inventory: Path | None,
    nodes: int | None,
    provider: str | None,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    **given: Any,
) -> None:
    """Make a federation's control plane, or bring back what died: on this host, or on others. Safe to run twice."""
    from federation.host import control_plane
    from federation.host.hosts import HostOptions
    from federation.host.services import context_name, url

    options = HostOptions(
        provider=provider or "",
        nodes=nodes,
        hosts=hosts,
        inventory=inventory,
        accept_new_host_keys=accept_new_host_keys,
        ask_become_pass=ask_become_pass,
    )
    with reported(as_json):
        homes.check_name(name)
        home = Home(name)
        given = {**given, **_dns_options(given)}
        with home.lock():
            present = home.read()
            if options.given or (present is not None and present.on_hosts):
                _init_hosts(home, {**given, "data_dir": data_dir, "dns_key_file": dns_key_file}, options, as_json)
                return
            wanted = _wanted(home, {**given, "data_dir": str(data_dir.absolute()) if data_dir else None})
            started, doubts = asyncio.run(control_plane.init(home, wanted, dns_key_file))
        key = home.transfer_key(wanted)
        if as_json:
            found = {"federation": name, "server": url(wanted), "kubeconfig": str(home.kubeconfig)}
            keys = {"dnsTransferKeyFile": str(key)} if key else {}
            print_json({**found, "started": started, "warnings": list(doubts), **keys})
            return
        for doubt in doubts:
            click.echo(f"Warning: {doubt}", err=True)
        click.echo(f"Started {', '.join(started)}." if started else "Everything runs already.")
        click.echo(f"Federation {name} serves at {url(wanted)}, context {context_name(name)}:")
        click.echo(f"  export KUBECONFIG={home.kubeconfig}")
        if key is not None:
            click.echo(f"Secondaries transfer the zone {wanted.dns_zone} with the TSIG key in {key}.")


def _dns_options(given: dict[str, Any]) -> dict[str, str | None]:
    """Of secondaries, as the description holds them; None: nothing was said. Raises WrongInputError."""
    secondaries, key = given["dns_secondaries"], given["dns_transfer_key_file"]
    return {
        "dns_secondaries": homes.checked_secondaries(secondaries) if secondaries else None,
        "dns_transfer_key_file": str(key.absolute()) if key else None,
    }


def _init_hosts(home: Home, given: dict[str, Any], options: "HostOptions", as_json: bool) -> None:
    from federation.errors import WrongInputError
    from federation.host import hosts
    from federation.host.services import context_name

    here = [f"--{key.replace('_', '-')}" for key in ON_THIS_HOST if given.pop(key) not in (None, ())]
    if here:
        raise WrongInputError(
            f"{', '.join(here)} and hosts do not go together",
            why="on its own hosts a federation has the usual ports and serves its zone itself",
            next_step="Leave one of them out.",
        )  # fmt: skip
    wanted = _wanted(home, given, provider=options.chosen_provider)
    described, changes = hosts.init(home, wanted, options, _teller(as_json))
    if as_json:
        print_json(
            {
                "federation": home.name,
                "server": described.server,
                "kubeconfig": str(home.kubeconfig),
                "changes": changes,
            }
        )
        return
    click.echo(f"Federation {home.name} is served by its hosts." if changes else "Everything is as it should be.")
    click.echo(f"It serves at {described.server}, context {context_name(home.name)}:")
    click.echo(f"  export KUBECONFIG={home.kubeconfig}")


def _teller(as_json: bool) -> "Tell":
    return (lambda _: None) if as_json else (lambda sentence: click.echo(sentence, err=True))


def _wanted(home: Home, given: dict[str, Any], **more: str) -> Description:
    """What was asked for, over what is there, over the defaults. Raises WrongInputError."""
    from federation.errors import WrongInputError

    options = {key: value for key, value in given.items() if value is not None and value != ()}
    if "dns_zone" in options:
        options["dns_zone"] = homes.checked_zone(options["dns_zone"])
    if "bind_address" in options:
        homes.check_address(options["bind_address"])
    present = home.read()
    if present is not None:
        return dataclasses.replace(present, **options)
    if "dns_zone" not in options:
        raise WrongInputError(
            f"federation {home.name} needs a DNS zone", why="names of its Services are made in it",
            next_step="Name one, as in --dns-zone=fed.example.com.",
        )  # fmt: skip
    return Description(home.name, **{"data_dir": str(home.path / "data"), **options, **more})


@federate.command()
@click.argument("name")
@ASK_BECOME_PASS
@JSON
def stop(name: str, as_json: bool, ask_become_pass: bool) -> None:
    """Stop a federation's services, here or on its hosts. Its data stays; `init` starts it again."""
    from federation.host import control_plane, hosts

    with reported(as_json):
        home = homes.chosen(name)
        description = home.require()
        with home.lock():
            if description.on_hosts:
                stopped = hosts.stop(home, _teller(as_json), ["--ask-become-pass"] if ask_become_pass else [])
            else:
                stopped = control_plane.stop(home)
        if as_json:
            print_json({"federation": name, "stopped": stopped})
        else:
            click.echo(f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran.")


@federate.command()
@click.argument("name")
@ASK_BECOME_PASS
@click.option("--forget-unreachable", is_flag=True, help="Give up hosts that do not answer; they keep what they have.")
@JSON
def destroy(name: str, as_json: bool, ask_become_pass: bool, forget_unreachable: bool) -> None:
    """Stop a federation and remove what was made for it, here and on its hosts. Members keep what they have."""
    from federation.host import control_plane, hosts

    flags = {"--ask-become-pass": ask_become_pass, "--forget-unreachable": forget_unreachable}
    with reported(as_json):
        home = homes.chosen(name)
        description = home.require()
        with home.lock():
            if description.on_hosts:
                hosts.destroy(home, _teller(as_json), [flag for flag, given in flags.items() if given])
            else:
                control_plane.destroy(home)
        if as_json:
            print_json({"federation": name, "destroyed": True})
        else:
            click.echo(f"Federation {name} is gone.")


@federate.command()
@click.argument("name", required=False)
def kubeconfig(name: str | None) -> None:
    """Print the administrator's kubeconfig."""
    with reported(False):
        home = homes.chosen(name)
        home.require()
        click.echo(home.kubeconfig.read_text(), nl=False)


@federate.command()
@click.argument("name", required=False)
@JSON
def status(name: str | None, as_json: bool) -> None:
    """Members, what is placed on them, and DNS. Reads only."""
    from federation.host import control_plane

    with reported(as_json):
        found = asyncio.run(control_plane.status(homes.chosen(name)))
        if as_json:
            print_json(found)
            return
        for line in _lines(found):
            click.echo(line)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"Federation {found['name']} at {found['server']}, zone {found['dnsZone']}"
    if found["hosts"]:
        for host in found["hosts"]:
            yield f"Host {host['name']} ({host['address']}): {'; '.join(host['faults']) or 'well'}"
    else:
        services = [f"{name} {f'pid {pid}' if pid else 'does not run'}" for name, pid in found["services"].items()]
        yield f"Services: {', '.join(services)}"
    rows = [("CLUSTER", "PHASE", "VERSION", "NODES", "LAST PROBE")]
    for one in found["clusters"]:
        nodes = one["nodes"]
        ready = f"{nodes.get('ready', 0)}/{nodes.get('total', 0)}" if nodes else ""
        phase = ",".join(
            [one["phase"], *(["Cordoned"] if one["cordoned"] else []), *(["Tainted"] if one["taints"] else [])]
        )
        rows.append((one["name"], phase, one["version"], ready, one["lastProbe"]))
    widths = [max(len(str(row[at])) for row in rows) for at in range(5)]
    for row in rows:
        yield "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    placed = found["placements"]
    yield (
        f"Placements: {placed['total']} objects; {placed['applied']} applied, {placed['pending']} pending, "
        f"{placed['conflict']} in conflict, {placed['failed']} failed, {placed['deleting']} deleting"
    )
    dns = found["dns"]
    yield (
        f"DNS: {dns['records']} records of {dns['recordSets']} Services; {dns['stale']} serve their last answer, "
        f"{dns['failing']} cannot be written"
    )


@contextlib.contextmanager
def reported(as_json: bool) -> Iterator[None]:
    """Errors turned into words and exit codes."""
    code = 0
    try:
        yield
    except FederateError as error:
        code = error.exit_code
        if as_json:
            said = {"what": error.what, "why": error.why, "next_step": error.next_step}
            print_json({"event": "error", "exit_code": code, **said})
        else:
            click.echo(f"Error: {error}", err=True)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Stopped. The same command goes on where it was.", err=True)
        code = 130
    if code:
        raise click.exceptions.Exit(code)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value))
