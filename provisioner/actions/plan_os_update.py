"""What new packages of the operating system take: which hosts, in which order, with a reboot or without. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.actions.plan_upgrade import batches, gate_text
from provisioner.execution.actions import Action, ActionPlan, Difference, chain
from provisioner.operations.packages import Package


@dataclass(frozen=True, slots=True)
class OsState:
    """What a host lacks."""

    packages: tuple[Package, ...] = ()
    reboot_due: str = ""
    """Why it has to boot anew; empty when it has not."""
    held: bool = False
    """Its Node was closed for a reboot by a run that was cut off."""


def plan_os_update(
    spec: ClusterSpec, found: Mapping[str, OsState], *, reboot: bool, batch_percent: int = 20
) -> ActionPlan:
    """
    Args:
        spec: The cluster.
        found: Host name -> what it lacks.
        reboot: Whether hosts that need it are emptied and booted anew.
        batch_percent: Share of the workers that are away at once, after the first one alone.
    """
    actions: list[Action] = []
    before: tuple[str, ...] = ()
    for batch in batches(spec, batch_percent):
        ends: list[str] = []
        for host in batch:
            steps = _steps(host, found.get(host.name, OsState()), reboot=reboot)
            if not steps:
                continue
            if not actions:
                actions.append(Action("snapshot", "take a snapshot of etcd"))
                before = ("snapshot",)
            first, *rest = steps
            own = chain([Action(first.id, first.what, first.host, before, first.changes), *rest])
            actions += own
            ends.append(own[-1].id)
        before = tuple(ends) or before
    return ActionPlan("os-update", spec.name, tuple(actions))


def _steps(host: HostSpec, state: OsState, *, reboot: bool) -> list[Action]:
    name, steps = host.name, []
    if state.packages:
        changes = tuple(Difference(package.name, package.before, package.after) for package in state.packages)
        steps.append(Action(f"{name}/packages", "install packages", name, (), changes))
    may_boot = reboot and bool(state.packages or state.reboot_due)
    if may_boot:
        why = state.reboot_due or "if the packages ask for it"
        if host.has(Role.NODE):
            steps.append(Action(f"{name}/cordon", "place nothing new there", name))
            steps.append(Action(f"{name}/drain", "evict its Pods", name))
        steps.append(Action(f"{name}/reboot", f"boot anew ({why})", name))
    if steps or state.held:
        steps.append(Action(f"{name}/gate", f"see that it serves: {gate_text(host)}", name))
    if host.has(Role.NODE) and (may_boot or state.held):
        steps.append(Action(f"{name}/uncordon", "let it take Pods again", name))
    return steps
