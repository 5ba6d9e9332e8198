"""What an upgrade takes: in which order hosts get the new release, and whether it may be done. Pure."""

import math
from collections.abc import Sequence

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference

SKIPPED_MINORS = 1
"""Minor versions that an upgrade may go forward at once. Source: upstream's version skew policy."""


def plan_upgrade(spec: ClusterSpec, current: str, wanted: str, *, batch_percent: int = 20) -> ActionPlan:
    """
    Args:
        spec: The cluster.
        current: Digest of the release that its hosts run; empty when they run several.
        wanted: Digest of the new one.
        batch_percent: Share of the workers that are upgraded at once, after the first one alone.
    """
    change = (Difference("release", current, wanted),)
    snapshot = Action("snapshot", "take a snapshot of etcd")
    pushes = [Action(f"{host.name}/release", "unpack the release", host.name, (snapshot.id,)) for host in spec.hosts]
    actions: list[Action] = [snapshot, *pushes]
    before = tuple(action.id for action in pushes)
    for batch in batches(spec, batch_percent):
        gates = []
        for host in batch:
            upgrade = Action(f"{host.name}/upgrade", "lay down and restart", host.name, before, change)
            gate = Action(f"{host.name}/gate", f"see that it serves: {gate_text(host)}", host.name, (upgrade.id,))
            actions += [upgrade, gate]
            gates.append(gate.id)
        before = tuple(gates)
    return ActionPlan("upgrade", spec.name, tuple(actions))


def batches(spec: ClusterSpec, percent: int) -> list[list[HostSpec]]:
    """Masters and members of etcd one by one, then one worker alone, then the others by the share, rounded up."""
    workers = [host for host in spec.hosts if not _leads(host)]
    found = [[host] for host in spec.hosts if _leads(host)]
    if workers:
        found.append(workers[:1])
        size = max(1, math.ceil(len(workers) * percent / 100))
        found += [workers[at : at + size] for at in range(1, len(workers), size)]
    return found


def _leads(host: HostSpec) -> bool:
    return host.has(Role.CONTROL_PLANE) or host.has(Role.ETCD)


def gate_text(host: HostSpec) -> str:
    """What `phases.gate` looks at."""
    parts = []
    if host.has(Role.ETCD):
        parts.append("its member of etcd is healthy")
    if host.has(Role.CONTROL_PLANE):
        parts.append("its apiserver is ready")
    if host.has(Role.NODE):
        parts.append("its Node is Ready and runs a Pod")
    return ", ".join(parts)


def check_skew(have: str, wanted: str) -> None:
    """
    Args:
        have: Kubernetes version that the cluster serves, as in 1.36.
        wanted: That of the new release.

    Raises:
        InventoryError: it is older, or leaves a minor version out.
    """
    now, then = _minor(have), _minor(wanted)
    if then < now:
        raise InventoryError(
            f"the cluster cannot go back to Kubernetes {wanted}", why=f"it has stored what {have} knows",
            next_step="Restore a snapshot that was taken before its upgrade.",
        )  # fmt: skip
    if then - now > SKIPPED_MINORS:
        raise InventoryError(
            f"the cluster cannot go from Kubernetes {have} to {wanted} at once", why="a minor version is left out",
            next_step=f"Upgrade to a release of 1.{now + 1} first.",
        )  # fmt: skip


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def releases_of(releases: Sequence[str]) -> str:
    """The one that all run; empty when they differ."""
    found = set(releases)
    return found.pop() if len(found) == 1 else ""
