"""`provision etcd …`: the members, and snapshots of what they keep."""

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import (
    ACCEPT_NEW_HOST_KEYS,
    ASK_BECOME_PASS,
    JSON,
    SKIP,
    HowToReach,
    Work,
    new_run,
    print_json,
    sudo_password,
    working_on,
)
from provisioner.errors import InventoryError

if TYPE_CHECKING:
    from provisioner.phases.run import Run
    from provisioner.snapshots.s3 import S3Folder

NAME = click.argument("name", default="dev")

S3 = click.option(
    "--s3",
    "s3_url",
    default="",
    metavar="s3://BUCKET/PREFIX",
    envvar="HANSE_SNAPSHOTS_S3",
    help="Also in this bucket; credentials are found as AWS's own tools find them.",
)
S3_ENDPOINT = click.option(
    "--s3-endpoint",
    default="",
    metavar="URL",
    envvar="HANSE_SNAPSHOTS_S3_ENDPOINT",
    help="Another server than Amazon's that speaks S3.",
)


@click.group()
def etcd() -> None:
    """What keeps the cluster's state: health, snapshots, restoring."""


@etcd.command()
@NAME
@JSON
def status(name: str, as_json: bool) -> None:
    """Every member's health, size, lag and alarms. Reads only."""
    from provisioner.actions.etcd_status import as_json as status_as_json, lines, read_members

    with working_on(name, as_json, HowToReach(), changes=False) as work:
        run = work.run()
        members = work.finish(run, read_members(run))
        work.progress.end()
        if as_json:
            for told in status_as_json(members, run.spec.etcd.quota_bytes):
                print_json(told)
        else:
            for line in lines(members, run.spec.etcd.quota_bytes):
                click.echo(line)
        if not all(one.healthy and one.state and not one.state.alarms for one in members):
            raise click.exceptions.Exit(1)


@etcd.command()
@NAME
@click.option("--keep", type=click.IntRange(1), default=48, show_default=True, help="How many stay.")
@S3
@S3_ENDPOINT
@JSON
@ASK_BECOME_PASS
def snapshot(name: str, keep: int, s3_url: str, s3_endpoint: str, as_json: bool, ask_become_pass: bool) -> None:
    """Take a snapshot: checked, sealed with the cluster's own key, on this machine, and in S3 where that is wanted."""
    from provisioner.actions.snapshot_etcd import take_snapshot

    bucket = _bucket(s3_url, s3_endpoint)
    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        taken = work.finish(run, take_snapshot(run, keep=keep))
        if bucket is not None:
            bucket.put(taken.path)
            for old in bucket.prune(name, keep):
                work.progress.line(f"{old} is thrown away in {bucket}")
        said = f"Snapshot of revision {taken.revision}: {taken.path}"
        work.say(said, snapshot=str(taken.path), revision=taken.revision)


@etcd.command()
@NAME
@click.option("--verify", is_flag=True, help="Restore each beside a member, and count what comes out.")
@S3
@S3_ENDPOINT
@JSON
@ASK_BECOME_PASS
def snapshots(name: str, verify: bool, s3_url: str, s3_endpoint: str, as_json: bool, ask_become_pass: bool) -> None:
    """List the snapshots on this machine, or in S3, oldest first."""
    from provisioner.actions.verify_snapshots import verify_snapshots
    from provisioner.snapshots.keep import snapshots_in

    bucket = _bucket(s3_url, s3_endpoint)
    with working_on(name, as_json, HowToReach.asking(ask_become_pass), changes=verify) as work:
        found = snapshots_in(work.home.snapshots) if bucket is None else bucket.snapshots(name)
        if not verify:
            for one in found:
                if as_json:
                    print_json({"snapshot": str(one.path), "taken": one.taken.isoformat(), "revision": one.revision})
                else:
                    click.echo(f"{one.taken:%Y-%m-%d %H:%M:%S} UTC  revision {one.revision:<10} {one.path}")
            return
        with tempfile.TemporaryDirectory(dir=work.home.path) as scratch:
            if bucket is not None:
                found = [dataclasses.replace(one, path=bucket.fetch(one.name, Path(scratch))) for one in found]
            run = work.run()
            verified = work.finish(run, verify_snapshots(run, found))
        bad = [one for one in verified if one.wrong]
        told = [{"snapshot": one.name, "wrong": one.wrong} for one in verified]
        work.say(f"{len(verified) - len(bad)} of {len(verified)} snapshots are good.", cluster=name, snapshots=told)
        if bad:
            raise click.exceptions.Exit(1)


def _bucket(url: str, endpoint: str) -> "S3Folder | None":
    """None where no bucket is named. Raises InventoryError."""
    from provisioner.snapshots.s3 import S3Folder

    return S3Folder(url, endpoint=endpoint) if url else None


@etcd.command()
@NAME
@click.argument("snapshot", required=False)
@click.option(
    "--from-data-dir",
    "survivor",
    metavar="HOST",
    default="",
    help="Not from a snapshot, but from this host's data: the quorum is lost for good.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="HOST",
    help="Give this host up: it is gone for good, and must never be started again with the data it has.",
)
@S3_ENDPOINT
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def restore(
    name: str,
    snapshot: str | None,
    survivor: str,
    without: tuple[str, ...],
    s3_endpoint: str,
    dry_run: bool,
    digest: str,
    as_json: bool,
    ask_become_pass: bool,
) -> None:
    """
    Put the cluster back to a snapshot: a file, the name of one that `snapshots` lists, or s3://BUCKET/PREFIX/NAME; the
    newest here when none is named. What was written since is lost. With --from-data-dir, bring a cluster back whose
    quorum is lost.
    """
    from provisioner.actions.restore_etcd import begun_restore, plan_restore, restore_etcd, without_hosts
    from provisioner.phases.encryption_keys import retired_names

    if survivor and snapshot:
        raise click.UsageError("--from-data-dir does not go with a snapshot: both say what the cluster is made from")
    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        left = without_hosts(run.spec, without)
        if survivor:
            file = _salvaged(work, run, survivor, without, dry_run=dry_run)
        else:
            file = _chosen(work.home.snapshots, name, snapshot, s3_endpoint)
        begun = begun_restore(run, file, without=without, salvaged=survivor)
        run.spec = left
        plan = plan_restore(left, file.name, begun.id, dropped_keys=retired_names(work.home.pki))
        if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
            return
        work.finish(run, restore_etcd(run, file, begun))
        said = f"Cluster {name} is as it was in {file.name}."
        if without:
            said += (
                f" Put others in place of what is gone: `provision nodes replace {name} {' '.join(without)} --dead`."
            )
        work.say(said, cluster=name, snapshot=str(file), without=list(without))


def _salvaged(work: "Work", run: "Run", survivor: str, without: tuple[str, ...], *, dry_run: bool) -> Path:
    """What the survivor's data hold; of an earlier run, if that did not come to its end. Raises InventoryError."""
    from inventory.model import Role
    from provisioner.actions.restore_etcd import unfinished_restore
    from provisioner.actions.salvage_etcd import salvage

    members = run.spec.with_role(Role.ETCD)
    host = next((host for host in members if host.name == survivor and survivor not in without), None)
    if host is None:
        raise InventoryError(
            f"{survivor} has no data of etcd", why=f"members are on {', '.join(one.name for one in members)}",
            next_step="Name one that is not given up.",
        )  # fmt: skip
    begun = unfinished_restore(run.home)
    if begun is not None and (begun.salvaged, begun.without) == (survivor, without):
        return run.home.snapshots / begun.snapshot
    if dry_run:
        # Salvaging stops what is left of the member.
        return run.home.snapshots / f"what-{survivor}-has"
    others = [one for one in members if one is not host and one.name not in without]
    return work.finish(run, salvage(run, host, others)).path


@etcd.command("restore-on-new-hosts")
@NAME
@click.argument("snapshot", required=False)
@click.option("--inventory", type=click.Path(path_type=Path), help="File that describes the new hosts.")
@S3_ENDPOINT
@JSON
@ACCEPT_NEW_HOST_KEYS
@ASK_BECOME_PASS
@SKIP
def restore_elsewhere(
    name: str,
    snapshot: str | None,
    inventory: Path | None,
    s3_endpoint: str,
    as_json: bool,
    accept_new_host_keys: bool,
    ask_become_pass: bool,
    skipped: tuple[str, ...],
) -> None:
    """
    All hosts are lost: make the cluster anew on others, from a snapshot and what this machine keeps of it. Local
    machines are removed and made again, with other addresses.
    """
    from provisioner.actions import restore_on_new_hosts as moving
    from provisioner.actions.describe import describe_record

    how = HowToReach(accept_new_host_keys, sudo_password(ask_become_pass), skipped)
    with working_on(name, as_json, how) as work:
        file = _chosen(work.home.snapshots, name, snapshot, s3_endpoint)
        move = moving.planned_move(work.home, work.record, inventory, file)
        old, run = (
            new_run(work.home, describe_record(work.home, record), record, work.progress, how)
            for record in (move.before, move.after)
        )
        moving.check_before(run, file)

        async def leave() -> None:
            if not move.begun:
                await moving.refuse_living(old)
            await moving.leave_old_hosts(old, move, inventory)

        work.finish(old, leave())
        gone = work.finish(run, moving.restore_on_new_hosts(run, move, file))
        said = f"Cluster {name} is as it was in {file.name}, on {len(run.spec.hosts)} new hosts."
        work.say(said, cluster=name, snapshot=str(file), deleted_nodes=list(gone))


def _chosen(folder: Path, cluster: str, wanted: str | None, s3_endpoint: str) -> Path:
    """A file on this machine; one in S3 is fetched first."""
    from provisioner.snapshots.keep import snapshots_in

    if wanted and wanted.startswith("s3://"):
        place, _, file = wanted.rpartition("/")
        if (folder / file).exists():
            return folder / file  # fetched by an earlier run, or taken here
        bucket = _bucket(place, s3_endpoint)
        assert bucket is not None  # noqa: S101 - it was named
        return bucket.fetch(file, folder)
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


@etcd.command()
@NAME
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def repair(name: str, dry_run: bool, digest: str, as_json: bool, ask_become_pass: bool) -> None:
    """Let it write again after an alarm about space: compact, defragment members one by one, take the alarm back."""
    from provisioner.actions.repair_etcd import plan_etcd_repair, repair_etcd

    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()

        async def planned_and_done() -> bool:
            plan = await plan_etcd_repair(run)
            if wanted := plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                await repair_etcd(run, plan)
            return wanted

        if not work.finish(run, planned_and_done()):
            return
        work.say(f"etcd of cluster {name} has room to write.", cluster=name)


@etcd.command()
@NAME
@click.argument("host")
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def replace(name: str, host: str, dry_run: bool, digest: str, as_json: bool, ask_become_pass: bool) -> None:
    """Let one host's member forget what it has, and learn all anew from the others: its data are damaged."""
    from provisioner.actions.replace_member import plan_member_replacement, replace_member

    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()

        async def planned_and_done() -> bool:
            plan, quorum = await plan_member_replacement(run, host)
            if wanted := plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
                await replace_member(run, plan, quorum, host)
            return wanted

        if not work.finish(run, planned_and_done()):
            return
        work.say(f"The member of etcd on {host} has what the others have.", cluster=name, host=host)
