"""
`provision etcd replace`: one member of etcd forgets what it has and learns all anew from the others, on the same host.

For a member whose data are damaged or differ from the others'. It leaves first: a member that forgot what it voted for
must not come back as the same one.
"""

import dataclasses
from collections.abc import Awaitable, Callable

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.actions.change_masters import connect_those_that_answer
from provisioner.actions.plan_nodes import hosts_named
from provisioner.actions.snapshot_etcd import take_snapshot
from provisioner.actions.telling import told_by
from provisioner.bundle.build import Bundle
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference, chain
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import ETCD_UNIT
from provisioner.operations import etcd, etcd_members
from provisioner.operations.etcd_members import Quorum
from provisioner.operations.membership import Member, MembershipStep, StepKind, after, prove
from provisioner.operations.units import start_units, stop_units
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.lay_down import lay_down
from provisioner.phases.run import Run
from provisioner.transports.base import Transport

KEPT_SNAPSHOTS = 48
_DATA = "/var/lib/etcd/member"


def plan_replacement(spec: ClusterSpec, members: tuple[Member, ...], name: str) -> ActionPlan:
    """
    Pure. What an earlier run has done is not in it.

    Raises:
        InventoryError: there is no other member to learn from.
        QuorumRefusalError: the others could not decide anything meanwhile.
    """
    found = next((one for one in members if one.name == name), None)
    if not any(one.voter and one.name != name for one in members):
        raise InventoryError(
            f"{name} cannot be replaced", why="it is the only member, so there is nobody to learn from",
            next_step=f"Restore a snapshot: `provision etcd restore {spec.name}`.",
        )  # fmt: skip
    actions: list[Action] = [Action("snapshot", "take a snapshot of etcd")]
    if found is not None and found.voter:
        leaving = MembershipStep(StepKind.REMOVE, name)
        prove(members, leaving)
        members = after(members, leaving)
        change = Difference("etcd member", name, "")
        actions.append(Action(f"{name}/stop", "stop its member of etcd", name))
        actions.append(Action(f"etcd/remove {name}", f"remove {name}", "", (), (change,)))
    if found is None or found.voter:
        coming = MembershipStep(StepKind.ADD, name)
        prove(members, coming)
        data = Difference("data", _DATA, "")
        actions.append(Action(f"{name}/wipe", "throw its data away", name, (), (data,)))
        change = Difference("etcd member", "", f"{name} (learner)")
        actions.append(Action(f"etcd/add {name}", f"take {name} in as a learner", "", (), (change,)))
    change = Difference("etcd member", f"{name} (learner)", name)
    actions += [
        Action(f"{name}/files", "lay down whom it joins", name),
        Action(f"{name}/etcd", "start its member of etcd", name),
        Action(f"etcd/promote {name}", f"let {name} vote when it has caught up", "", (), (change,)),
    ]
    return ActionPlan("etcd replace", spec.name, chain(actions))


async def plan_member_replacement(run: Run, name: str) -> tuple[ActionPlan, Quorum]:
    """Asks the other members. Raises what `plan_replacement` raises, and ProvisionError where nobody has a quorum."""
    host = _member_host(run.spec, name)
    others = [one for one in run.spec.with_role(Role.ETCD) if one is not host]
    await connect_hosts(run, [host], booting=False)
    await connect_those_that_answer(run, others)
    quorum, _ = await etcd_members.find_quorum(*_askable(run, name))
    return plan_replacement(run.spec, quorum.members, name), quorum


async def replace_member(run: Run, plan: ActionPlan, quorum: Quorum, name: str) -> None:
    """The caller holds the cluster's lock. A run that is cut off is gone on with by the same command."""
    host = _member_host(run.spec, name)
    record = run.home.read_record()
    assert record is not None  # noqa: S101 - the command line asked for it
    # From now on whoever starts without data joins those that are there.
    run.home.write_record(dataclasses.replace(record, quorum_formed=True))
    run.spec = dataclasses.replace(run.spec, quorum_formed=True)
    reached = [one for one in run.spec.with_role(Role.ETCD) if one.name in run.transports]
    ledger = Ledger(run.home.ledger, plan.verb)
    steps = _Replacing(run, host, quorum.ids.get(name, "")).steps()
    async with locked_hosts(run, reached):
        with run.progress.phase("Replace a member of etcd"), ledger.running(f"replace {name}"):
            await carry_out(plan, steps, ledger, tell=told_by(run))


def _member_host(spec: ClusterSpec, name: str) -> HostSpec:
    [host] = hosts_named(spec, [name])
    if not host.has(Role.ETCD):
        raise InventoryError(
            f"{name} has no member of etcd",
            why=f"members are on {', '.join(one.name for one in spec.with_role(Role.ETCD))}",
            next_step="Name one of these.",
        )  # fmt: skip
    return host


def _askable(run: Run, name: str) -> tuple[list[Transport], list[HostSpec]]:
    """Whom to ask about members, and all that may be some: the one in question is asked by nobody."""
    hosts = list(run.spec.with_role(Role.ETCD))
    return [run.transports[one.name] for one in hosts if one.name != name and one.name in run.transports], hosts


class _Replacing:
    """How each action is done and seen to be done."""

    def __init__(self, run: Run, host: HostSpec, old_id: str) -> None:
        self._run = run
        self._host = host
        self._transport = run.transport(host)
        self._old_id = old_id
        self._snapshot = False
        self._laid = False

    def steps(self) -> dict[str, Step]:
        name = self._host.name
        table: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[bool]]]] = {
            "snapshot": (self._take_snapshot, self._has_snapshot),
            f"{name}/stop": (self._stop, self._is_stopped),
            f"etcd/remove {name}": (self._remove, self._is_removed),
            f"{name}/wipe": (self._wipe, self._is_wiped),
            f"etcd/add {name}": (self._add, self._is_added),
            f"{name}/files": (self._lay_down, self._is_laid_down),
            f"{name}/etcd": (self._start, self._runs),
            f"etcd/promote {name}": (self._promote, self._votes),
        }
        return {action: Step(do, done) for action, (do, done) in table.items()}

    async def _quorum(self, *, health: bool = False) -> tuple[Quorum, Transport]:
        return await etcd_members.find_quorum(*_askable(self._run, self._host.name), health=health)

    async def _take_snapshot(self) -> None:
        """Of the others: what this one has is in doubt."""
        others = [one for one in self._run.spec.hosts if one is not self._host and one.name in self._run.transports]
        await take_snapshot(self._run.narrowed(others), keep=KEPT_SNAPSHOTS)
        self._snapshot = True

    async def _has_snapshot(self) -> bool:
        return self._snapshot

    async def _stop(self) -> None:
        await stop_units(self._transport, (ETCD_UNIT,))

    async def _is_stopped(self) -> bool:
        return not await self._runs()

    async def _remove(self) -> None:
        quorum, transport = await self._quorum(health=True)
        prove(quorum.members, MembershipStep(StepKind.REMOVE, self._host.name))
        await etcd_members.remove(transport, self._old_id, self._host.name)

    async def _is_removed(self) -> bool:
        quorum, _ = await self._quorum()
        return self._old_id not in quorum.ids.values()

    async def _wipe(self) -> None:
        await stop_units(self._transport, (ETCD_UNIT,))
        await etcd.must(self._transport, ["rm", "-rf", _DATA], "throw the member's data away")

    async def _is_wiped(self) -> bool:
        return (await self._transport.run(["test", "-e", _DATA])).exit_code != 0

    async def _add(self) -> None:
        quorum, transport = await self._quorum(health=True)
        prove(quorum.members, MembershipStep(StepKind.ADD, self._host.name))
        await etcd_members.add_learner(transport, self._host)

    async def _is_added(self) -> bool:
        quorum, _ = await self._quorum()
        return self._host.name in quorum.ids

    async def _lay_down(self) -> None:
        await gather_facts(self._run, [self._host])
        release = self._run.facts_of(self._host).release
        self._run.bundle = Bundle(release, self._run.home.path, 0, "")  # its files are on the host already
        await lay_down(self._run, [self._host])
        self._laid = True

    async def _is_laid_down(self) -> bool:
        return self._laid

    async def _start(self) -> None:
        await start_units(self._transport, (ETCD_UNIT,))

    async def _runs(self) -> bool:
        await gather_facts(self._run, [self._host])
        return self._run.facts_of(self._host).unit(ETCD_UNIT).active

    async def _promote(self) -> None:
        quorum, transport = await self._quorum()
        await etcd_members.promote(transport, quorum.ids[self._host.name], self._host.name)
        await etcd.wait_healthy(self._transport)

    async def _votes(self) -> bool:
        quorum, _ = await self._quorum()
        return any(one.name == self._host.name and one.voter for one in quorum.members)
