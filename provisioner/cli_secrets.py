"""`provision secrets …`: the key that Secrets are sealed with in etcd."""

from typing import TYPE_CHECKING

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import (
    ASK_BECOME_PASS,
    JSON,
    connected,
    home_of,
    known_run,
    print_json,
    reported,
    require_record,
    run_to_end,
    sudo_password,
)

if TYPE_CHECKING:
    from provisioner.operations.sealed_values import SealedValues
    from provisioner.phases.run import Run

NAME = click.argument("name", default="dev")


@click.group()
def secrets() -> None:
    """Secrets at rest: what they are sealed with, and another key."""


@secrets.command()
@NAME
@JSON
@ASK_BECOME_PASS
def status(name: str, as_json: bool, ask_become_pass: bool) -> None:
    """
    How many Secrets each key has sealed, as etcd holds them. Reads only.

    Ends with 1 when another key than the first has sealed one.
    """
    from provisioner.phases.encryption_keys import read_keys

    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        run = known_run(home, progress, password)
        keys = [key.name for key in read_keys(home.pki)]
        found = run_to_end(connected(run, _look(run, keys[0])))
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "keys": keys, "sealed": dict(found.counts)})
        else:
            click.echo(f"Keys: {', '.join(keys)}; the first one seals.")
            for key, count in sorted(found.counts.items()):
                click.echo(f"{key}: {count} Secrets")
        if found.under_others(keys[0]):
            raise click.exceptions.Exit(1)


async def _look(run: "Run", wanted: str) -> "SealedValues":
    from provisioner.actions.rotate_key import look
    from provisioner.phases.connect import connect_hosts

    await connect_hosts(run, run.spec.hosts, booting=False)
    return await look(run, wanted)


@secrets.command("rotate-key")
@NAME
@click.option("--rollback", is_flag=True, help="Return to the key from before a rotation that did not end.")
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def rotate_key(name: str, rollback: bool, dry_run: bool, digest: str, as_json: bool, ask_become_pass: bool) -> None:
    """
    Seal every Secret with a new key and drop the old one, while the cluster serves.

    Once cut off, the same command goes on. Snapshots from before need the old key: it stays on this machine.
    """
    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        with home.lock():
            run = known_run(home, progress, password)
            do = _rotate(run, digest, back=rollback, dry_run=dry_run, as_json=as_json)
            target = run_to_end(connected(run, do))
        progress.end()
        if not target:
            return
        if as_json:
            print_json({"event": "done", "cluster": name, "key": target})
        else:
            click.echo(f"Every Secret is sealed with {target}; no other key opens any.")


async def _rotate(run: "Run", digest: str, *, back: bool, dry_run: bool, as_json: bool) -> str:
    from provisioner.actions.rotate_key import plan_for, rotate_key

    plan, target = await plan_for(run, back=back)
    if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
        return ""
    await rotate_key(run, plan, target)
    return target
