"""`provision certs …`."""

import dataclasses
import datetime as dt

import click

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

NAME = click.argument("name", default="dev")


@click.group()
def certs() -> None:
    """Certificates: how long they last, and new ones."""


@certs.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Every certificate and the days that it has left. Reads this machine alone; ends with 1 when one has expired."""
    from provisioner.actions.certificates import lines, read_certificates
    from provisioner.actions.describe import describe_record

    with reported(as_json):
        home = home_of(name)
        record = require_record(home)
        found = read_certificates(describe_record(home, record), home.pki, dt.datetime.now(dt.UTC))
        for one in found if as_json else ():
            print_json(dataclasses.asdict(one))
        for line in [] if as_json else lines(found):
            click.echo(line)
        if any(one.days_left is None or one.days_left < 0 for one in found):
            raise click.exceptions.Exit(1)


@certs.command()
@NAME
@JSON
@ASK_BECOME_PASS
def rotate(name: str, as_json: bool, ask_become_pass: bool) -> None:
    """Issue every certificate anew, by the same CAs. Services take them up without a restart."""
    from provisioner.actions.apply import apply_cluster
    from provisioner.actions.certificates import give_up_leaves

    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        record = require_record(home)
        with home.lock():
            run = known_run(home, progress, password)
            count = give_up_leaves(run.spec, home.pki)
            run_to_end(connected(run, apply_cluster(run, record)))
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "issued": count})
        else:
            click.echo(f"{count} certificates are new.")
