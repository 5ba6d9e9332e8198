"""
What it takes that masters and members of etcd come, go, or are replaced: all steps in their order. Pure.

What needs nobody (machines, releases, draining) goes on side by side; etcd's members change one after the other; once
the new ones serve and the old ones do not, all other hosts are told in one go.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inventory.model import ClusterSpec, HostSpec, Provider, Role
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference
from provisioner.operations.membership import MembershipStep, StepKind


@dataclass(frozen=True, slots=True)
class Change:
    """Which hosts come and which go."""

    verb: str
    before: ClusterSpec
    after: ClusterSpec
    coming: tuple[HostSpec, ...] = ()
    going: tuple[HostSpec, ...] = ()
    dead: frozenset[str] = frozenset()
    """Names of those of `going` that do not answer: their Pods are given up."""

    @property
    def new_members(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.coming if host.has(Role.ETCD))

    @property
    def old_members(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.going if host.has(Role.ETCD))

    @property
    def concerns_masters(self) -> bool:
        """Whether more than the hosts themselves have to hear of it."""
        return any(_leads(host) for host in (*self.coming, *self.going))

    @property
    def staying(self) -> tuple[HostSpec, ...]:
        names = {host.name for host in self.coming}
        return tuple(host for host in self.after.hosts if host.name not in names)


def _leads(host: HostSpec) -> bool:
    return host.has(Role.CONTROL_PLANE) or host.has(Role.ETCD)


def plan_change(change: Change, membership: Sequence[MembershipStep]) -> ActionPlan:
    """
    Args:
        change: Who comes and goes.
        membership: How etcd's members change (`membership.plan_membership`).
    """
    return ActionPlan(change.verb, change.after.name, tuple(_Planning(change).actions(membership)))


class _Planning:
    """Actions so far, and what the next ones wait for."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._actions: list[Action] = []
        self._etcd: tuple[str, ...] = ()
        """The last step of etcd's members: the next one waits for it."""
        self._stopped: set[str] = set()
        self._serving: list[str] = []

    def actions(self, membership: Sequence[MembershipStep]) -> list[Action]:
        change = self._change
        for host in change.coming:
            self._prepare(host)
        for host in change.going:
            self._empty(host)
        if membership:
            self._etcd = (self._add("snapshot", "take a snapshot of etcd"),)
        for step in membership:
            self._member(step)
        for host in change.coming:
            if host.has(Role.CONTROL_PLANE) and f"{host.name}/control-plane" not in self._serving:
                self._serve(host, (f"{host.name}/files", *self._etcd))
        for host in change.going:
            self._stop(host)
            if _leads(host) and host.name not in change.dead:
                self._revoke(host, (f"{host.name}/stop", *self._etcd))
        for host in change.coming:
            self._join(host)
        if change.concerns_masters:
            self._tell()
        for host in change.going:
            self._forget(host)
        return self._actions

    def _add(self, id_: str, what: str, host: str = "", after: Sequence[str] = (), *changes: Difference) -> str:
        known = {action.id for action in self._actions}
        self._actions.append(Action(id_, what, host, tuple(dict.fromkeys(a for a in after if a in known)), changes))
        return id_

    def _prepare(self, host: HostSpec) -> None:
        roles = Difference("roles", "", ", ".join(sorted(host.roles)))
        last = self._add(
            f"{host.name}/machine", "make the machine, or reach the host", host.name, (),
            roles, Difference("address", "", host.address),
        )  # fmt: skip
        for step, what in (
            ("fit", "ask it everything that preflight asks"),
            ("certificates", "issue its certificates"),
            ("release", "unpack the release"),
            ("files", "lay down its files"),
        ):
            last = self._add(f"{host.name}/{step}", what, host.name, (last,))
        if host.has(Role.NODE):
            self._add(f"{host.name}/runtime", "start the container runtime", host.name, (last,))

    def _empty(self, host: HostSpec) -> None:
        dead = host.name in self._change.dead
        if host.has(Role.NODE):
            self._add(
                f"{host.name}/cordon", "place nothing new there", host.name, (),
                Difference("unschedulable", "false", "true"),
            )  # fmt: skip
            if not dead:
                self._add(
                    f"{host.name}/drain", "evict its Pods, as their budgets allow", host.name,
                    (f"{host.name}/cordon",), Difference("pods", "running", "elsewhere"),
                )  # fmt: skip
        if dead and _leads(host):
            self._revoke(host, (f"{host.name}/cordon",))

    def _revoke(self, host: HostSpec, after: Sequence[str]) -> None:
        what = "let its certificates count no longer for etcd"
        self._add(f"{host.name}/revoke", what, "", after, Difference("revoked", "", host.name))

    def _member(self, step: MembershipStep) -> None:
        name = step.member
        if step.kind is StepKind.ADD:
            change = Difference("etcd member", "", f"{name} (learner)")
            last = self._add(
                f"etcd/add {name}", f"take {name} in as a learner", "", (*self._etcd, f"{name}/files"), change
            )
            self._etcd = (self._add(f"{name}/etcd", "start its member of etcd", name, (last,)),)
        elif step.kind is StepKind.PROMOTE:
            change = Difference("etcd member", f"{name} (learner)", name)
            what = f"let {name} vote when it has caught up"
            self._etcd = (self._add(f"etcd/promote {name}", what, "", self._etcd, change),)
            host = next((host for host in self._change.coming if host.name == name), None)
            if host is not None and host.has(Role.CONTROL_PLANE):
                self._serve(host, self._etcd)
        else:
            self._leave(name)

    def _leave(self, name: str) -> None:
        host = next((host for host in self._change.going if host.name == name), None)
        if host is not None:
            self._stop(host)
        before = (*self._etcd, *(f"{name}/{step}" for step in ("cordon", "drain", "stop", "revoke")))
        lead = self._add(f"{name}/lead", "let another member lead", "", before)
        change = Difference("etcd member", name, "")
        self._etcd = (self._add(f"etcd/remove {name}", f"remove {name}", "", (lead,), change),)

    def _serve(self, host: HostSpec, after: Sequence[str]) -> None:
        what = "start apiserver, controller manager and scheduler"
        self._serving.append(self._add(f"{host.name}/control-plane", what, host.name, after))

    def _stop(self, host: HostSpec) -> None:
        """Its successors serve first."""
        if not host.has(Role.CONTROL_PLANE) or host.name in self._stopped or host.name in self._change.dead:
            return
        self._stopped.add(host.name)
        self._add(f"{host.name}/stop", "stop its control plane", host.name, (f"{host.name}/drain", *self._serving))

    def _join(self, host: HostSpec) -> None:
        if not host.has(Role.NODE):
            return
        before = (f"{host.name}/runtime", f"{host.name}/control-plane")
        last = self._add(f"{host.name}/services", "start kubelet, kube-proxy and cluster DNS", host.name, before)
        self._add(f"{host.name}/ready", "wait until its Node is Ready", host.name, (last,))

    def _tell(self) -> None:
        change = self._change
        everybody = [action.id for action in self._actions if action.id.startswith("etcd/")]
        everybody += [
            action.id for action in self._actions if action.id.endswith(("/control-plane", "/revoke", "/stop"))
        ]
        changes = [
            Difference(field, ", ".join(before), ", ".join(after))
            for field, before, after in (
                ("etcd", _names(change.before, Role.ETCD), _names(change.after, Role.ETCD)),
                ("masters", _names(change.before, Role.CONTROL_PLANE), _names(change.after, Role.CONTROL_PLANE)),
            )
            if before != after
        ]
        files = [f"{host.name}/files" for host in change.coming]
        self._add("clients", "name the masters that there are now on every host", "", (*everybody, *files), *changes)

    def _forget(self, host: HostSpec) -> None:
        dead = host.name in self._change.dead
        gone = [f"etcd/remove {host.name}", f"{host.name}/cordon", f"{host.name}/drain", f"{host.name}/stop"]
        if not dead:
            gone.append("clients")
        if self._change.before.provider is Provider.LOCAL:
            gone.append(
                self._add(
                    f"{host.name}/clean", "remove the machine", host.name, gone,
                    Difference("machine", host.address, ""),
                )
            )  # fmt: skip
        elif not dead:
            gone.append(
                self._add(
                    f"{host.name}/clean", "stop everything and remove our files", host.name, gone,
                    Difference("files", "laid down", ""),
                )
            )  # fmt: skip
        if host.has(Role.NODE):
            # The Node goes last: a kubelet that still ran would register it anew.
            self._add(f"{host.name}/node", "delete its Node", host.name, gone, Difference("node", host.name, ""))


def _names(spec: ClusterSpec, role: Role) -> list[str]:
    return [host.name for host in spec.with_role(role)]


def check_change(change: Change) -> None:
    """Raises InventoryError when what is left would be no cluster; etcd's members have rules of their own."""
    after = change.after
    if not after.with_role(Role.CONTROL_PLANE):
        raise InventoryError(
            "no master would be left", why="somebody has to serve the API",
            next_step="Replace it with `provision nodes replace`, or take the cluster away with `provision destroy`.",
        )  # fmt: skip
    if not any(host.has(Role.NODE) and not host.taints for host in after.hosts):
        raise InventoryError(
            f"{', '.join(sorted(host.name for host in change.going))} cannot be removed",
            why="no node would be left that takes Pods", next_step="Add another node first.",
        )  # fmt: skip
    for host in change.coming:
        if host.has(Role.FEDERATION) or not host.roles:
            raise InventoryError(
                f"{host.name} cannot be added as {', '.join(sorted(host.roles)) or 'nothing'}",
                why="hosts of a cluster are nodes, masters and members of etcd", next_step="Give it such roles.",
            )  # fmt: skip
