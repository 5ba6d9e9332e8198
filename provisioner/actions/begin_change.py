"""From a command about masters to what changes, by a first run or by one that goes on with it."""

import dataclasses
from collections.abc import Callable, Sequence

from inventory.model import ClusterSpec, HostSpec
from provisioner import kubeconfig
from provisioner.actions.change_masters import Plan, change_masters, forget_hosts, plan_masters
from provisioner.actions.describe import describe_record
from provisioner.actions.pending_change import PendingChange, forget_pending, write_pending
from provisioner.actions.plan_masters import Change, check_change
from provisioner.actions.plan_nodes import hosts_named, roles_of
from provisioner.actions.ways_in import write_kubeconfig
from provisioner.phases.run import Run
from provisioner.state import ClusterHome, ClusterRecord


def first_change(
    home: ClusterHome,
    verb: str,
    record: ClusterRecord,
    coming: Sequence[HostSpec],
    going: Sequence[HostSpec],
    *,
    dead: bool,
    command: Sequence[str],
) -> tuple[Change, PendingChange]:
    """
    Args:
        record: What will be remembered in the end.
        dead: Who goes does not answer.
        command: As it would be typed again, without --dead.

    Raises:
        InventoryError: what would be left is no cluster.
    """
    names = tuple(host.name for host in going)
    pending = PendingChange(
        " ".join(command), tuple(host.name for host in coming), names, names if dead else (), record
    )
    change = _change(home, verb, pending)
    check_change(change)
    return change, pending


def without(record: ClusterRecord, spec: ClusterSpec, going: Sequence[HostSpec]) -> ClusterRecord:
    """What is remembered of the cluster once these have left it."""
    names = [host.name for host in going]
    return dataclasses.replace(
        record, absent=tuple(sorted({*record.absent, *names})), roles=roles_of(spec, without=names)
    )


def resumed_change(home: ClusterHome, verb: str, pending: PendingChange, *, dead: bool) -> Change:
    """What an earlier run began; a host that died meanwhile may be given up with --dead."""
    gone = dataclasses.replace(pending, dead=pending.going) if dead else pending
    return _change(home, verb, gone)


def _change(home: ClusterHome, verb: str, pending: PendingChange) -> Change:
    record = home.read_record()
    assert record is not None  # noqa: S101 - the command line asked for it
    before, after = describe_record(home, record), describe_record(home, pending.after)
    known = {host.name for host in before.hosts}
    return Change(
        verb, before, after, tuple(hosts_named(after, pending.coming)) if pending.coming else (),
        tuple(host for host in before.hosts if host.name in pending.going and host.name in known),
        frozenset(pending.dead),
    )  # fmt: skip


async def carry_out_change(
    run: Run, change: Change, pending: PendingChange, wanted: Callable[[Plan], bool], *, patience: float, resumed: bool
) -> Plan | None:
    """
    Plan, and, if that is wanted, do it and remember it. None when it was not wanted.

    Args:
        run: Describes the cluster as it is.
        wanted: Sees the plan first.
        patience: Seconds that Pods get to move.
        resumed: An earlier run began it.
    """
    plan = await plan_masters(run, change, resumed=resumed)
    if not wanted(plan):
        return None
    write_pending(run.home, pending)
    await change_masters(run, plan, patience=patience)
    run.home.write_record(pending.after)
    await forget_hosts(run, pending.going)
    await tell_operator(dataclasses.replace(run, spec=change.after))
    forget_pending(run.home)
    return plan


async def tell_operator(run: Run) -> None:
    """The operator's own ways in name the masters that there are; so does the user's file, if it has this cluster."""
    await write_kubeconfig(run)
    kubeconfig.refresh_in_file(kubeconfig.user_file(), kubeconfig.read(run.home.kubeconfig))
