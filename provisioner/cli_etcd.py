"""`provision etcd …`: the members, and snapshots of what they keep."""

from pathlib import Path

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import (
    ASK_BECOME_PASS,
    JSON,
    HowToReach,
    print_json,
    working_on,
)
from provisioner.errors import InventoryError

NAME = click.argument("name", default="dev")


@click.group()
def etcd() -> None:
    """What keeps the cluster's state: health, snapshots, restoring."""


@etcd.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Every member's health, size, lag and alarms. Reads only."""
    from provisioner.actions.etcd_status import lines, read_members

    with working_on(name, as_json, HowToReach(), changes=False) as work:
        run = work.run()
        members = work.finish(run, read_members(run))
        work.progress.end()
        if as_json:
            for one in members:
                state = one.state._asdict() if one.state else None
                print_json({"host": one.host, "healthy": one.healthy, "state": state, "why": one.why})
        else:
            for line in lines(members):
                click.echo(line)
        if not all(one.healthy and one.state and not one.state.alarms for one in members):
            raise click.exceptions.Exit(1)


@etcd.command()
@NAME
@click.option("--keep", type=click.IntRange(1), default=48, show_default=True, help="How many stay.")
@JSON
@ASK_BECOME_PASS
def snapshot(name: str, keep: int, as_json: bool, ask_become_pass: bool) -> None:
    """Take a snapshot: checked, sealed with the cluster's own key, on this machine."""
    from provisioner.actions.snapshot_etcd import take_snapshot

    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        taken = work.finish(run, take_snapshot(run, keep=keep))
        said = f"Snapshot of revision {taken.revision}: {taken.path}"
        work.say(said, snapshot=str(taken.path), revision=taken.revision)


@etcd.command()
@NAME
@JSON
def snapshots(name: str, as_json: bool) -> None:
    """List the snapshots on this machine, oldest first."""
    from provisioner.snapshots.keep import snapshots_in

    with working_on(name, as_json, HowToReach(), changes=False) as work:
        for one in snapshots_in(work.home.snapshots):
            if as_json:
                print_json({"snapshot": str(one.path), "taken": one.taken.isoformat(), "revision": one.revision})
            else:
                click.echo(f"{one.taken:%Y-%m-%d %H:%M:%S} UTC  revision {one.revision:<10} {one.path}")


@etcd.command()
@NAME
@click.argument("snapshot", required=False)
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def restore(name: str, snapshot: str | None, dry_run: bool, digest: str, as_json: bool, ask_become_pass: bool) -> None:
    """
    Put the cluster back to a snapshot: a file, or the name of one that `snapshots` lists; the newest when none is
    named. What was written since is lost.
    """
    from provisioner.actions.restore_etcd import begun_restore, plan_restore, restore_etcd

    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        file = _chosen(work.home.snapshots, name, snapshot)
        begun = begun_restore(run, file)
        plan = plan_restore(run.spec, file.name, begun.id)
        if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
            return
        work.finish(run, restore_etcd(run, file, begun))
        work.say(f"Cluster {name} is as it was in {file.name}.", cluster=name, snapshot=str(file))


def _chosen(folder: Path, cluster: str, wanted: str | None) -> Path:
    from provisioner.snapshots.keep import snapshots_in

    if wanted:
        return folder / wanted if (folder / wanted).exists() else Path(wanted)
    found = snapshots_in(folder)
    if not found:
        raise InventoryError(
            f"cluster {cluster} has no snapshot here", why=f"{folder} holds none",
            next_step=f"Name a file, or take one with `provision etcd snapshot {cluster}`.",
        )  # fmt: skip
    return found[-1].path


@etcd.command()
@NAME
@JSON
@ASK_BECOME_PASS
def defragment(name: str, as_json: bool, ask_become_pass: bool) -> None:
    """Give freed space back to the disk, one member after the other, and take back alarms about space."""
    from provisioner.actions.defragment_etcd import defragment_etcd

    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        freed = work.finish(run, defragment_etcd(run))
        work.say(f"{freed / 1e6:.1f} MB are free again.", cluster=name, freed_bytes=freed)
