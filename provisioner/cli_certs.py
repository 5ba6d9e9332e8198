"""`provision certs …`."""

import dataclasses
import datetime as dt

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

NAME = click.argument("name", default="dev")


@click.group()
def certs() -> None:
    """Certificates: how long they last, and new ones."""


@certs.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """
    Every certificate and the days that it has left. Reads this machine alone.

    Ends with 1 when one has expired, with 5 when one ends within 14 days.
    """
    from provisioner.actions.certificates import SOON_EXIT_CODE, advice, lines, read_certificates
    from provisioner.actions.describe import describe_record
    from provisioner.actions.plan_rotation import told
    from provisioner.phases.rotate_authorities import Progress, read_progress

    with reported(as_json):
        home = home_of(name)
        record = require_record(home)
        found = read_certificates(describe_record(home, record), home.pki, dt.datetime.now(dt.UTC))
        for one in found if as_json else ():
            print_json(dataclasses.asdict(one))
        for line in [] if as_json else lines(found):
            click.echo(line)
        rotation = read_progress(home.pki)
        if rotation != Progress():
            click.echo(told(rotation, name), err=True)
        if said := advice(found, name):
            click.echo(said, err=True)
        if any(one.has_ended for one in found):
            raise click.exceptions.Exit(1)
        if any(one.ends_soon for one in found):
            raise click.exceptions.Exit(SOON_EXIT_CODE)


@certs.command()
@NAME
@click.option("--due", is_flag=True, help="Only those with less than a third of their life left; for a timer.")
@JSON
@ASK_BECOME_PASS
def rotate(name: str, due: bool, as_json: bool, ask_become_pass: bool) -> None:
    """
    Issue every certificate anew, by the same CAs. Services take them up without a restart.

    Needs SSH alone: it works when everything has expired and the API answers nobody.
    """
    from provisioner.actions.apply import apply_cluster
    from provisioner.actions.certificates import give_up_leaves, pending_leaves

    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        record = require_record(home)
        with home.lock():
            run = known_run(home, progress, password)
            pending = pending_leaves(run.spec, home.pki, dt.datetime.now(dt.UTC))
            count = pending if due else give_up_leaves(run.spec, home.pki, dt.datetime.now(dt.UTC))
            if count:
                run_to_end(connected(run, apply_cluster(run, record)))
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "issued": count})
        else:
            click.echo(f"{count} certificates are new." if count else "No certificate is due.")


@certs.command("rotate-ca")
@NAME
@click.option(
    "--stage", "until", type=click.Choice(["trust", "sign", "drop", "retire"]), default=None,
    help="Go to this stage and no further; default: drop, and retire once that is reached.",
)  # fmt: skip
@click.option("--rollback", is_flag=True, help="Go back one stage.")
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def rotate_ca(
    name: str, until: str | None, rollback: bool, dry_run: bool, digest: str, as_json: bool, ask_become_pass: bool
) -> None:
    """
    Replace every CA and the key of ServiceAccount tokens, while the cluster serves.

    trust: both generations are trusted. sign: the new one signs. drop: the old CAs are trusted no more. retire: nor are
    tokens that the old key signed. Each stage ends at a gate; --rollback goes back from all but the last.
    """
    from provisioner.actions.plan_rotation import plan_rotation, stage_before, stages_ahead, told
    from provisioner.actions.rotate_authorities import authorities_have_expired, rotate_authorities
    from provisioner.phases.rotate_authorities import Stage, read_progress

    if rollback and until:
        raise click.UsageError("--rollback goes one stage back; it takes no --stage")
    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        with home.lock():
            run = known_run(home, progress, password)
            found = read_progress(home.pki)
            dead = authorities_have_expired(run, dt.datetime.now(dt.UTC))
            wanted = Stage(until) if until else None
            stages = (stage_before(found),) if rollback else stages_ahead(found, wanted, dead=dead)
            plan = plan_rotation(run.spec, found, stages, dead=dead)
            if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                return
            if stages:
                run_to_end(connected(run, rotate_authorities(run, stages, back=rollback, dead=dead)))
            found = read_progress(home.pki)
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "stage": found.stage, "stages": list(stages)})
            return
        click.echo(told(found, name))
