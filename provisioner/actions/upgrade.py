"""
`provision upgrade`: a new release on every host, masters one by one, then workers, each gated; back by itself when a
gate does not open.

The release lies on all hosts before the first service restarts, so that going on and going back need no network but
SSH. Containers run on while their node's services restart.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence

from cluster.client.rest import ApiClient
from inventory.model import HostSpec, Role
from provisioner.actions.plan_upgrade import check_skew, plan_upgrade, releases_of
from provisioner.actions.snapshot_etcd import take_snapshot
from provisioner.actions.telling import admin_client, told_by
from provisioner.bundle.build import Bundle
from provisioner.errors import ProvisionError
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import HostFacts, units_of
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gate import wait_serving
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.join_nodes import start_node_services, start_runtime
from provisioner.phases.lay_down import lay_down, read_recorded, wanted_inputs
from provisioner.phases.push_bundle import push_bundle, share_bundle
from provisioner.phases.run import Run
from provisioner.phases.start_control_plane import start_control_plane
from provisioner.phases.start_etcd import restart_member
from provisioner.plan import units_to_restart
from provisioner.releases import begin_upgrade, end_upgrade, keep_release, read_kept

KEPT_SNAPSHOTS = 48


class RolledBackError(ProvisionError):
    """The new release did not serve; every host runs the old one again."""


async def find_releases(run: Run) -> str:
    """Digest of what the hosts run; empty when they differ. Connects to all of them."""
    await connect_hosts(run, run.spec.hosts, booting=False)
    await gather_facts(run, run.spec.hosts)
    return releases_of([run.facts_of(host).release for host in run.spec.hosts])


async def upgrade(run: Run, bundle: Bundle, *, batch_percent: int) -> ActionPlan:
    """
    The caller holds the cluster's lock. A run that was cut off is gone on with by the same command.

    Args:
        run: Connected; its facts are known (`find_releases`).
        bundle: The release to go to.
        batch_percent: Share of the workers that are upgraded at once.

    Raises:
        RolledBackError: a gate did not open.
        ProvisionError: something failed before any host was changed, or going back failed as well.
    """
    before = releases_before(run, bundle)
    current = releases_of([run.facts_of(host).release for host in run.spec.hosts])
    plan = plan_upgrade(run.spec, current, bundle.digest, batch_percent=batch_percent)
    ledger = Ledger(run.home.ledger, plan.verb)
    async with locked_hosts(run), admin_client(run) as client:
        work = _Upgrading(dataclasses.replace(run, bundle=bundle), client)
        begin_upgrade(run.home, bundle)
        with run.progress.phase("Upgrade"), ledger.running(f"upgrade to {bundle.digest}"):
            try:
                await carry_out(plan, work.steps(), ledger, tell=told_by(run))
            except ProvisionError as failure:
                changed = await _on(run, bundle.digest, before)
                if changed:
                    await _roll_back(run, client, before, changed, ledger)
                end_upgrade(run.home)
                if not changed:
                    raise
                raise RolledBackError(
                    "the new release did not serve, and every host runs the old one again", why=str(failure),
                    next_step="Read the logs that it names; the cluster is as it was.",
                ) from failure  # fmt: skip
        await asyncio.to_thread(keep_release, run.home, bundle)
    return plan


def releases_before(run: Run, bundle: Bundle) -> dict[str, str]:
    """
    Host name -> what it goes back to if the new release does not serve: what it runs, and where an earlier run has
    brought it to the new one already, the cluster's own.
    """
    kept = read_kept(run.home)
    own = kept.current.digest if kept else ""
    found = {host.name: run.facts_of(host).release for host in run.spec.hosts}
    return {name: own or now if now == bundle.digest else now for name, now in found.items()}


def needs_upgrade(run: Run, bundle: Bundle) -> bool:
    """Whether a host runs, or is meant to run, anything else. Its facts are known."""
    kept = read_kept(run.home)
    if kept is None or kept.going_to or kept.current.digest != bundle.digest:
        return True
    return not all(
        is_upgraded(host, run.facts_of(host), bundle.digest, has_files(run, host, bundle.digest))
        for host in run.spec.hosts
    )


def is_upgraded(host: HostSpec, facts: HostFacts, digest: str, complete: bool) -> bool:
    """
    Args:
        complete: Its files were laid down to the end. The release is the first of them: where a run was killed right
            after it, the units are the old ones still, and what runs from them is not stale.
    """
    runs = all(facts.unit(unit).active and not facts.unit(unit).stale for unit in units_of(host))
    return facts.release == digest and runs and complete


def has_files(run: Run, host: HostSpec, digest: str) -> bool:
    """Whether its files are those of this release, as they were laid down. Facts of all hosts are known."""
    laid_down = run.facts_of(host).laid_down
    wanted = wanted_inputs(run, digest)[host.name]
    return bool(laid_down) and read_recorded(run.home).get(host.name) == (wanted, laid_down)


def check_versions(run: Run, bundle: Bundle) -> None:
    """Raises InventoryError when the new release may not follow what hosts run. Their facts are known."""
    facts = [run.facts_of(host) for host in run.spec.hosts]
    for have in sorted({one.releases.get(one.release, "") for one in facts} - {""}):
        check_skew(have, bundle.kubernetes)


def releases_everywhere(run: Run) -> dict[str, str]:
    """Digest -> version of Kubernetes, of the releases that every host has unpacked."""
    found = [run.facts_of(host).releases for host in run.spec.hosts]
    return {digest: version for digest, version in found[0].items() if all(digest in other for other in found)}


async def _on(run: Run, digest: str, before: Mapping[str, str]) -> list[HostSpec]:
    """Hosts that were brought to this release, or half, from another one."""
    await gather_facts(run, run.spec.hosts)
    return [host for host in run.spec.hosts if run.facts_of(host).release == digest != before[host.name]]


async def _roll_back(
    run: Run,
    client: ApiClient,
    before: Mapping[str, str],
    changed: Sequence[HostSpec],
    ledger: Ledger,
) -> None:
    """The last that was upgraded first. Raises what kept it from going back."""
    tell = told_by(run)
    with run.progress.phase("Roll back"):
        for host in reversed(changed):
            old = Bundle(before[host.name], run.home.path, 0, "")  # its files are on the host already
            await tell(ledger.write("begun", action=f"{host.name}/roll back", host=host.name, what="roll back"))
            work = _Upgrading(dataclasses.replace(run, bundle=old), client)
            await work.upgrade(host)
            await work.gate(host)
            await tell(
                ledger.write("done", action=f"{host.name}/roll back", host=host.name, what=f"runs {old.digest} again")
            )


class _Upgrading:
    """How each action is done and seen to be done, to the release of `run.bundle`."""

    def __init__(self, run: Run, client: ApiClient) -> None:
        self._run = run
        self._client = client
        self._sharing = asyncio.Lock()
        self._snapshot = False
        self._passed: set[str] = set()

    def steps(self) -> dict[str, Step]:
        found = {"snapshot": Step(self._take_snapshot, self._has_snapshot)}
        for host in self._run.spec.hosts:
            table: dict[str, tuple[Callable[[HostSpec], Awaitable[None]], Callable[[HostSpec], Awaitable[bool]]]] = {
                "release": (self._push, self._has_release),
                "upgrade": (self.upgrade, self._is_upgraded),
                "gate": (self.gate, self._has_passed),
            }
            found |= {f"{host.name}/{name}": _step(do, done, host) for name, (do, done) in table.items()}
        return found

    @property
    def _digest(self) -> str:
        assert self._run.bundle is not None  # noqa: S101 - it is what this is made with
        return self._run.bundle.digest

    async def _take_snapshot(self) -> None:
        await take_snapshot(self._run, keep=KEPT_SNAPSHOTS)
        self._snapshot = True

    async def _has_snapshot(self) -> bool:
        return self._snapshot

    async def _push(self, host: HostSpec) -> None:
        async with self._sharing:  # local machines share one copy
            await share_bundle(self._run)
        await push_bundle(self._run, [host])

    async def _has_release(self, host: HostSpec) -> bool:
        await gather_facts(self._run, [host])
        return self._digest in self._run.facts_of(host).releases

    async def upgrade(self, host: HostSpec) -> None:
        """Its files name the release, then what runs from other inputs restarts, etcd before what stands on it."""
        only = self._run.narrowed([host])
        await lay_down(self._run, [host])
        if host.has(Role.ETCD) and units_to_restart(host, self._run.facts_of(host), ("etcd",)):
            await restart_member(self._run, host)
        if host.has(Role.CONTROL_PLANE):
            await start_control_plane(only)
        if host.has(Role.NODE):
            await start_runtime(only)
            await start_node_services(only)
        await gather_facts(self._run, [host])

    async def _is_upgraded(self, host: HostSpec) -> bool:
        await gather_facts(self._run, [host])
        complete = has_files(self._run, host, self._digest)
        return is_upgraded(host, self._run.facts_of(host), self._digest, complete)

    async def gate(self, host: HostSpec) -> None:
        """Raises ProvisionError when it does not serve in time."""
        await wait_serving(self._run, self._client, host)
        self._passed.add(host.name)

    async def _has_passed(self, host: HostSpec) -> bool:
        return host.name in self._passed


def _step(
    do: Callable[[HostSpec], Awaitable[None]], done: Callable[[HostSpec], Awaitable[bool]], host: HostSpec
) -> Step:
    return Step(lambda: do(host), lambda: done(host))
