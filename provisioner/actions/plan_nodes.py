"""What adding and removing hosts takes, step by step, and whether it may be done at all. Pure."""

from collections.abc import Collection, Sequence

from inventory.model import ClusterSpec, HostSpec, Provider
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference


def plan_addition(spec: ClusterSpec, new: Sequence[HostSpec]) -> ActionPlan:
    """
    Args:
        spec: The cluster with the new hosts in it.
        new: Those that come.
    """
    actions: list[Action] = []
    for host in new:
        roles = Difference("roles", "", ", ".join(sorted(host.roles)))
        steps = [
            ("machine", "make the machine, or reach the host", (roles, Difference("address", "", host.address))),
            ("fit", "ask it everything that preflight asks", ()),
            ("certificates", "issue its certificates", ()),
            ("release", "unpack the release", ()),
            ("files", "lay down its files", ()),
            ("runtime", "start the container runtime", ()),
            ("services", "start kubelet, kube-proxy and cluster DNS", ()),
            ("ready", "wait until its Node is Ready", ()),
        ]
        before: tuple[str, ...] = ()
        for step, what, changes in steps:
            actions.append(Action(f"{host.name}/{step}", what, host.name, before, changes))
            before = (f"{host.name}/{step}",)
    return ActionPlan("nodes add", spec.name, tuple(actions))


def plan_removal(spec: ClusterSpec, going: Sequence[HostSpec], *, dead: bool) -> ActionPlan:
    """
    Args:
        spec: The cluster with the hosts still in it.
        going: Those that leave.
        dead: They do not answer: nothing is asked of them, and their Pods are given up.
    """
    actions: list[Action] = []
    for host in going:
        steps = [("cordon", "place nothing new there", Difference("unschedulable", "false", "true"))]
        if not dead:
            steps.append(
                ("drain", "evict its Pods, as their budgets allow", Difference("pods", "running", "elsewhere"))
            )
        if spec.provider is Provider.LOCAL:
            steps.append(("clean", "remove the machine", Difference("machine", host.address, "")))
        elif not dead:
            steps.append(("clean", "stop everything and remove our files", Difference("files", "laid down", "")))
        # The Node goes last: a kubelet that still ran would register it anew.
        steps.append(("node", "delete its Node", Difference("node", host.name, "")))
        before: tuple[str, ...] = ()
        for step, what, change in steps:
            actions.append(Action(f"{host.name}/{step}", what, host.name, before, (change,)))
            before = (f"{host.name}/{step}",)
    return ActionPlan("nodes remove", spec.name, tuple(actions))


def check_addition(spec: ClusterSpec, new: Sequence[HostSpec]) -> None:
    """Raises InventoryError for what may not be added this way."""
    if not new:
        raise InventoryError(
            f"cluster {spec.name} has all of these hosts already", why="there is none to add",
            next_step="Say how many more with --count, or list new hosts in --inventory.",
        )  # fmt: skip


def hosts_named(spec: ClusterSpec, names: Sequence[str]) -> list[HostSpec]:
    """Raises InventoryError for a name that no host has."""
    known = {host.name: host for host in spec.hosts}
    if strange := [name for name in names if name not in known]:
        raise InventoryError(
            f"cluster {spec.name} has no host {', '.join(strange)}", why=f"it has {', '.join(known)}",
            next_step="`provision status` lists them.",
        )  # fmt: skip
    return [known[name] for name in dict.fromkeys(names)]


def roles_of(spec: ClusterSpec, without: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Host name -> its roles, for the record."""
    return {host.name: tuple(sorted(host.roles)) for host in spec.hosts if host.name not in without}
