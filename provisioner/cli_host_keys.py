"""`provision nodes accept-key`: a host shows another key than the pinned one, and somebody vouches for it."""

import dataclasses
from typing import TYPE_CHECKING

import click

from provisioner.command_line import (
    JSON,
    connected,
    home_of,
    known_run,
    print_json,
    reported,
    require_record,
    run_to_end,
)
from provisioner.errors import InventoryError

if TYPE_CHECKING:
    from provisioner.phases.run import Run


@click.command("accept-key")
@click.argument("name")
@click.argument("host")
@click.option("--fingerprint", default="", metavar="SHA256:…", help="That of the host's new key, read on the host.")
@JSON
def accept_key(name: str, host: str, fingerprint: str, as_json: bool) -> None:
    """
    Pin the key that a host shows now, in the place of the one that was pinned.

    Without --fingerprint it changes nothing and tells both. Read the host's own on its console:
    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        with home.lock():
            run = known_run(home, progress)
            run.access = dataclasses.replace(run.access, accepted_fingerprint=fingerprint)
            before = home.known_hosts.read_bytes() if home.known_hosts.exists() else b""
            run_to_end(connected(run, _log_in(run, host)))
            changed = home.known_hosts.read_bytes() != before
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "host": host, "pinned": changed})
        else:
            click.echo(f"The key of {host} is pinned." if changed else f"{host} shows the key that is pinned.")


async def _log_in(run: "Run", name: str) -> None:
    from provisioner.phases.connect import connect_hosts

    host = next((host for host in run.spec.hosts if host.name == name), None)
    if host is None:
        known = ", ".join(host.name for host in run.spec.hosts)
        raise InventoryError(
            f"there is no host {name} in {run.spec.name}", why=f"its hosts are {known}",
            next_step="Give one of these.",
        )  # fmt: skip
    await connect_hosts(run, [host], booting=False)
