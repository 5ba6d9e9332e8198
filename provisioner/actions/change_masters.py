"""
`provision nodes add|remove|replace` where masters or members of etcd are concerned.

`look` finds out who is who in etcd, `plan_masters` decides, `change_masters` carries out. Before each step of etcd's
membership its members are asked anew, and the step is proved again.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence

from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.rest import ApiClient
from inventory.model import HostSpec, Provider, Role, url_host
from provisioner.actions.add_nodes import Joining
from provisioner.actions.plan_masters import Change, plan_change
from provisioner.actions.remove_nodes import Leaving
from provisioner.actions.snapshot_etcd import take_snapshot
from provisioner.actions.telling import told_by
from provisioner.errors import HostUnreachableError
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import CONTROL_PLANE_UNITS, ETCD_UNIT
from provisioner.operations import etcd_members
from provisioner.operations.api_probe import operator_tls, readiness
from provisioner.operations.etcd_members import Quorum
from provisioner.operations.membership import (
    MembershipStep,
    StepKind,
    after,
    holds,
    plan_membership,
    prove,
)
from provisioner.operations.units import start_units, stop_units
from provisioner.phase_runner import for_each
from provisioner.phases.connect import HostLocks, connect_hosts, disconnect
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.join_nodes import start_node_services, start_runtime
from provisioner.phases.lay_down import forget_laid_down, lay_down, read_recorded, wanted_inputs
from provisioner.phases.revoke_certificates import is_revoked, revoke_host
from provisioner.phases.run import Run
from provisioner.phases.start_control_plane import start_control_plane
from provisioner.phases.start_etcd import start_etcd
from provisioner.releases import bundle_of
from provisioner.transports.base import Transport

KEPT_SNAPSHOTS = 48
CONNECT_PATIENCE = 8.0  # seconds for a host that may be dead


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, and what it was made from."""

    change: Change
    membership: tuple[MembershipStep, ...]
    actions: ActionPlan
    quorum: Quorum | None
    """None when no member of etcd is concerned."""


async def plan_masters(run: Run, change: Change, *, resumed: bool = False) -> Plan:
    """
    Ask what there is, and say what to do. `run` describes the cluster as it is; those of its hosts that answer are
    connected afterwards.

    Args:
        resumed: An earlier run has begun: who goes may be gone.

    Raises:
        InventoryError, QuorumRefusalError: it may not be done.
        HostUnreachableError: one that goes does not answer, and nobody said that it is dead.
    """
    with run.progress.phase("Look at what is there"):
        await connect_those_that_answer(run, [host for host in run.spec.hosts if host.name not in change.dead])
    for host in change.going:
        if host.name not in change.dead and host.name not in run.transports and not resumed:
            raise HostUnreachableError(
                f"{host.name} does not answer", why="its services cannot be stopped, and its Pods not be moved",
                next_step="Bring it back, or give it up with --dead.", host=host.name,
            )  # fmt: skip
    if not (change.new_members or change.old_members):
        return Plan(change, (), plan_change(change, ()), None)
    quorum, _ = await etcd_members.find_quorum(*_askable(run, change))
    membership = plan_membership(quorum.members, change.new_members, change.old_members)
    return Plan(change, membership, plan_change(change, membership), quorum)


async def connect_those_that_answer(run: Run, hosts: Sequence[HostSpec]) -> None:
    """Says who does not answer; that is not the end, since others can go on without."""

    async def one(host: HostSpec) -> None:
        try:
            async with asyncio.timeout(CONNECT_PATIENCE):
                await connect_hosts(run, [host], booting=False)
        except (HostUnreachableError, TimeoutError) as error:
            run.progress.line(f"does not answer: {error}", host.name)

    await for_each(hosts, one)


def _askable(run: Run, change: Change) -> tuple[list[Transport], list[HostSpec]]:
    """Hosts to ask about etcd, those that stay first; and all that may be members."""
    everybody = {host.name: host for host in (*change.after.hosts, *run.spec.hosts)}
    staying = [host for host in change.staying if host.has(Role.ETCD)]
    others = [host for host in (*change.coming, *change.going) if host.has(Role.ETCD)]
    asked = [run.transports[host.name] for host in (*staying, *others) if host.name in run.transports]
    return asked, [host for host in everybody.values() if host.has(Role.ETCD)]


async def change_masters(run: Run, plan: Plan, *, patience: float) -> None:
    """
    The caller holds the cluster's lock and remembers what was begun; `run` describes the cluster as it is.

    Args:
        patience: Seconds that Pods get to move.

    Raises ProvisionError; the same command goes on.
    """
    change = plan.change
    run.bundle = await asyncio.to_thread(bundle_of, run.home, run.progress.line)
    ledger = Ledger(run.home.ledger, plan.actions.verb)
    then = dataclasses.replace(run, spec=change.after)
    # Hosts that go are locked by whoever cleans them.
    reached = [host for host in change.staying if host.name in run.transports]
    async with (
        ApiClient(_client_config(run, change), user_agent="provision") as client,
        HostLocks(run) as held,
        contextlib.AsyncExitStack() as locks,
    ):
        await held.take(reached)
        steps = _Changing(run, then, plan, client, locks, patience).steps()
        names = ", ".join(host.name for host in (*change.coming, *change.going))
        with run.progress.phase("Change masters"), ledger.running(f"{change.verb} {names}"):
            await carry_out(plan.actions, steps, ledger, tell=told_by(run))


async def forget_hosts(run: Run, names: Sequence[str]) -> None:
    """Keys and records of hosts that left."""
    for name in names:
        forget_laid_down(run.home, name)
        await asyncio.to_thread(run.home.forget_host, name)


def _client_config(run: Run, change: Change) -> ClientConfig:
    """The administrator's, asking masters that serve now first."""
    config = load_kubeconfig(run.home.path / "admin.conf")
    dead = change.dead | {host.name for host in change.before.hosts if host.name not in run.transports}
    order = [host for host in change.staying if host.name not in dead]
    order += [host for host in (*change.going, *change.coming, *change.staying) if host not in order]
    servers = [_url(host) for host in order if host.has(Role.CONTROL_PLANE) and host.name not in change.dead]
    return dataclasses.replace(config, servers=tuple(servers))


def _url(host: HostSpec) -> str:
    return f"https://{url_host(host.address)}:6443"


class _Changing:
    """How each action is done and seen to be done."""

    def __init__(
        self,
        run: Run,
        then: Run,
        plan: Plan,
        client: ApiClient,
        locks: contextlib.AsyncExitStack,
        patience: float,
    ) -> None:
        self._run = run
        self._then = then
        self._plan = plan
        self._change = plan.change
        self._client = client
        self._locks = locks
        self._patience = patience
        self._snapshot = False
        self._revoking = asyncio.Lock()
        self._pki = run.home.pki

    def steps(self) -> dict[str, Step]:
        found: dict[str, Step] = {
            "snapshot": Step(self._take_snapshot, self._has_snapshot),
            "clients": Step(self._tell, self._are_told),
        }
        for host in self._change.coming:
            joining = Joining(self._then, host, self._client, self._locks, self._laying(host))
            found |= joining.steps()
            found |= {
                f"{host.name}/etcd": _step(self._start_member, self._member_runs, host),
                f"{host.name}/control-plane": _step(self._start_masters, self._serves, host),
            }
        for host in self._change.going:
            leaving = Leaving(self._run, host, self._client, self._patience).steps()
            found |= leaving
            found |= {
                f"{host.name}/clean": self._cleaning(host, leaving[f"{host.name}/clean"]),
                f"{host.name}/stop": _step(self._stop, self._is_stopped, host),
                f"{host.name}/revoke": _step(self._revoke, self._is_revoked, host),
            }
        for step in self._plan.membership:
            found[f"etcd/{step.kind} {step.member}"] = _membership_step(self._take, self._is_taken, step)
            found[f"{step.member}/lead"] = _lead_step(self._lead_elsewhere, self._leads_not, step.member)
        return found

    # --- etcd ----------------------------------------------------------------------------------------------

    def _laying(self, host: HostSpec) -> Run:
        """The cluster as the host finds it: a member has to know exactly those that are there when it joins."""
        if self._plan.quorum is None:
            return self._then
        members = list(self._plan.quorum.members)
        for step in self._plan.membership:
            members = list(after(members, step))
            if step == MembershipStep(StepKind.ADD, host.name):
                break
        names = {member.name for member in members}
        everybody = {one.name: one for one in (*self._change.before.hosts, *self._change.after.hosts)}
        hosts = [
            one if (one.name in names) == one.has(Role.ETCD) else _with_etcd(one, member=one.name in names)
            for one in everybody.values()
            if one in self._change.after.hosts or one.name in names
        ]
        return dataclasses.replace(self._then, spec=dataclasses.replace(self._change.after, hosts=tuple(hosts)))

    async def _quorum(self, *, health: bool = True) -> tuple[Quorum, Transport]:
        return await etcd_members.find_quorum(*_askable(self._run, self._change), health=health)

    async def _take(self, step: MembershipStep) -> None:
        """Raises QuorumRefusalError when it may not be taken now."""
        quorum, transport = await self._quorum()
        prove(quorum.members, step)
        if step.kind is StepKind.ADD:
            [host] = [host for host in self._change.coming if host.name == step.member]
            await etcd_members.add_learner(transport, host)
        elif step.kind is StepKind.PROMOTE:
            await etcd_members.promote(transport, quorum.ids[step.member], step.member)
        else:
            await etcd_members.remove(transport, quorum.ids[step.member], step.member)

    async def _is_taken(self, step: MembershipStep) -> bool:
        quorum, _ = await self._quorum(health=False)
        return holds(quorum.members, step)

    async def _lead_elsewhere(self, name: str) -> None:
        quorum, transport = await self._quorum()
        leaving = {host.name for host in self._change.going}
        able = [one.name for one in quorum.members if one.voter and one.healthy and one.name != name]
        if able:
            # One that stays, if there is one: leadership shall not move twice.
            await etcd_members.move_leader(transport, quorum, min(able, key=lambda one: (one in leaving, one)))

    async def _leads_not(self, name: str) -> bool:
        quorum, _ = await self._quorum(health=False)
        return quorum.leader != name or not any(one.voter and one.name != name for one in quorum.members)

    async def _start_member(self, host: HostSpec) -> None:
        await start_units(self._run.transport(host), (ETCD_UNIT,))

    async def _member_runs(self, host: HostSpec) -> bool:
        await gather_facts(self._run, [host])
        return self._run.facts_of(host).unit(ETCD_UNIT).active

    async def _take_snapshot(self) -> None:
        asked = [host for host in self._run.spec.hosts if host.name in self._run.transports]
        await take_snapshot(self._run.narrowed(asked), keep=KEPT_SNAPSHOTS)
        self._snapshot = True

    async def _has_snapshot(self) -> bool:
        return self._snapshot

    # --- masters -------------------------------------------------------------------------------------------

    async def _start_masters(self, host: HostSpec) -> None:
        await gather_facts(self._run, [host])
        await start_control_plane(self._then.narrowed([host]))

    async def _serves(self, host: HostSpec) -> bool:
        await gather_facts(self._run, [host])
        facts = self._run.facts_of(host)
        if not all(facts.unit(unit).active and not facts.unit(unit).stale for unit in CONTROL_PLANE_UNITS):
            return False
        return not await readiness(_url(host), operator_tls(self._pki))

    async def _stop(self, host: HostSpec) -> None:
        """The proxy first: it hands the API's address over while its apiserver still answers."""
        transport = self._run.transport(host)
        if host.has(Role.NODE) and self._run.spec.control_plane.virtual_address:
            await stop_units(transport, ("kube-proxy",))
        await stop_units(transport, tuple(reversed(CONTROL_PLANE_UNITS)))

    async def _is_stopped(self, host: HostSpec) -> bool:
        if host.name not in self._run.transports:
            return True  # cleaned by an earlier run
        await gather_facts(self._run, [host])
        return not any(self._run.facts_of(host).unit(unit).active for unit in CONTROL_PLANE_UNITS)

    def _cleaning(self, host: HostSpec, cleaning: Step) -> Step:
        async def clean() -> None:
            if self._run.spec.provider is Provider.LOCAL:
                await disconnect(self._run, [host])  # there will be nobody at the other end
            await cleaning.do()

        return Step(clean, cleaning.done)

    async def _revoke(self, host: HostSpec) -> None:
        async with self._revoking:  # there is one list for all
            await asyncio.to_thread(revoke_host, self._pki, host.name, dt.datetime.now(dt.UTC))

    async def _is_revoked(self, host: HostSpec) -> bool:
        return await asyncio.to_thread(is_revoked, self._pki, host.name)

    # --- everybody else ------------------------------------------------------------------------------------

    def _reached(self) -> list[HostSpec]:
        return [host for host in self._change.after.hosts if host.name in self._run.transports]

    async def _tell(self) -> None:
        hosts = self._reached()
        self._then.bundle = self._run.bundle
        await lay_down(self._then, hosts)
        only = self._then.narrowed(hosts)
        # Lists are followed by whoever reads them; what else has changed, as a taint may, is taken up in turn.
        await start_etcd(only)
        await start_control_plane(only)
        await start_runtime(only)
        await start_node_services(only)

    async def _are_told(self) -> bool:
        assert self._run.bundle is not None  # noqa: S101 - it is the first thing that is made sure of
        hosts = self._reached()
        await gather_facts(self._run, hosts)
        wanted, recorded = wanted_inputs(self._then, self._run.bundle.digest), read_recorded(self._run.home)
        return all(recorded.get(host.name) == (wanted[host.name], self._run.facts_of(host).laid_down) for host in hosts)


def _with_etcd(host: HostSpec, *, member: bool) -> HostSpec:
    roles = host.roles | {Role.ETCD} if member else host.roles - {Role.ETCD}
    return dataclasses.replace(host, roles=roles)


def _step(
    do: Callable[[HostSpec], Awaitable[None]], done: Callable[[HostSpec], Awaitable[bool]], host: HostSpec
) -> Step:
    return Step(lambda: do(host), lambda: done(host))


def _membership_step(
    do: Callable[[MembershipStep], Awaitable[None]],
    done: Callable[[MembershipStep], Awaitable[bool]],
    step: MembershipStep,
) -> Step:
    return Step(lambda: do(step), lambda: done(step))


def _lead_step(do: Callable[[str], Awaitable[None]], done: Callable[[str], Awaitable[bool]], name: str) -> Step:
    return Step(lambda: do(name), lambda: done(name))
