"""
`provision cluster`: bring a cluster into being, or what differs back to what is wished. Read this file first. A
federation's control plane (`provision federation init`) takes the same way and ends with name servers, not nodes.

`observe` finds out, `plan.make_plan` says what is left, `apply_cluster` does it. A run that was killed anywhere is
finished by the next one, because each phase asks what is there and not what was done.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from inventory.model import HostSpec, Provider, Role
from provisioner.actions.telling import admin_client
from provisioner.actions.ways_in import write_for, write_kubeconfig
from provisioner.errors import ProvisionError
from provisioner.execution.ledger import Ledger
from provisioner.execution.noted_phases import NotedPhases
from provisioner.facts.host_facts import units_of
from provisioner.machines.base import MachineState
from provisioner.phase_runner import failures_in, raise_together
from provisioner.phases.apply_addons import apply_addons, pending_addons
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.issue_certificates import hosts_with_certificates, issue_certificates, pending_certificates
from provisioner.phases.join_nodes import (
    label_masters,
    missing_labels,
    not_ready,
    start_node_services,
    start_runtime,
    wait_nodes_ready,
)
from provisioner.phases.lay_down import expect_file_changes, lay_down, read_recorded, wanted_inputs
from provisioner.phases.push_bundle import push_bundle, share_bundle
from provisioner.phases.run import Run
from provisioner.phases.start_control_plane import start_control_plane
from provisioner.phases.start_etcd import start_etcd
from provisioner.phases.start_name_servers import start_name_servers
from provisioner.phases.validate_hosts import unfit_hosts, validate_hosts
from provisioner.plan import Change, Observed, make_plan, needing_files, needing_release
from provisioner.preflight.results import errors_of, warnings_of
from provisioner.preflight.run import preflight
from provisioner.releases import bundle_of, keep_release
from provisioner.state import ClusterRecord


async def plan_cluster(run: Run) -> tuple[Change, ...]:
    """What `apply_cluster` would do. Changes nothing on hosts, in the API or in the cluster's state."""
    observed = await observe(run)
    validate_hosts(run.spec, run.facts, run.skipped_checks)
    # Hosts that have files already can tell which differ, if all that the files are made from is known.
    complete = hosts_with_certificates(run.spec, run.home.pki, dt.datetime.now(dt.UTC))
    unready = needing_files(run.spec, observed)
    if asked := [host for host in unready if observed.of(host).laid_down and host.name in complete]:
        with run.progress.phase("Compare files"):
            observed = dataclasses.replace(observed, file_changes=await expect_file_changes(run, asked))
    return make_plan(run.spec, observed)


async def apply_cluster(run: Run, record: ClusterRecord) -> tuple[Change, ...]:
    """Do what is left; returns what that was. The caller holds the cluster's lock."""
    observed = await observe(run)
    changes = make_plan(run.spec, observed)
    if changes:
        # Hosts that exist are checked before anything is written, those that are made here once they answer.
        validate_hosts(run.spec, run.facts, run.skipped_checks)
        run.home.write_record(record)
        ledger = Ledger(run.home.ledger, "converge")
        with ledger.running(f"converge {run.spec.name}"):
            await _apply(dataclasses.replace(run, progress=NotedPhases(run.progress, ledger)), observed)
    if run.bundle is not None and not run.spec.federation:
        await asyncio.to_thread(keep_release, run.home, run.bundle)
    await write_kubeconfig(run)
    return changes


async def observe(run: Run) -> Observed:
    """Ask the operator's machine, the hosts that answer, and the API if there is one."""
    machines = await asyncio.to_thread(run.provider.observe, run.spec.hosts)
    running = [host for host in run.spec.hosts if machines[host.name] is MachineState.RUNNING]
    with run.progress.phase("Look at what is there"):
        async with asyncio.TaskGroup() as tasks:
            building = tasks.create_task(_ensure_bundle(run))
            tasks.create_task(_look_at_hosts(run, running))
        await building
        now = dt.datetime.now(dt.UTC)
        assert run.bundle is not None  # noqa: S101 - just built
        return Observed(
            release=run.bundle.digest,
            machines=machines,
            facts=dict(run.facts),
            certificates=pending_certificates(run.spec, run.home.pki, now),
            wanted_inputs=wanted_inputs(run, run.bundle.digest),
            recorded=read_recorded(run.home),
            api=await _look_at_api(run),
        )


async def _ensure_bundle(run: Run) -> None:
    """The cluster's own release; what is installed here when it has none yet. A federation follows what is here."""
    run.bundle = await asyncio.to_thread(bundle_of, run.home, run.progress.line)


async def _look_at_hosts(run: Run, hosts: Sequence[HostSpec]) -> None:
    """A host that cannot be reached keeps nobody from hearing what is wrong with the others."""
    failures: list[ProvisionError] = []
    try:
        await connect_hosts(run, hosts, booting=not run.facts and run.spec.provider == "local")
    except ProvisionError as error:
        failures = failures_in(error)
    await gather_facts(run, [host for host in hosts if host.name in run.transports])
    if failures:
        raise_together([*failures, *unfit_hosts(run.spec, run.facts, run.skipped_checks)], len(hosts))


async def _look_at_api(run: Run) -> list[str]:
    """What is missing in the API. Everything, when there is none yet."""
    nothing_yet = [f"create the {run.spec.kind}'s own objects"]
    if run.spec.with_role(Role.NODE):
        nothing_yet.append("wait until every Node is Ready")
    if not run.home.kubeconfig.exists():
        return nothing_yet
    try:
        async with asyncio.timeout(5), admin_client(run) as client:
            pending = await pending_addons(client, run.spec)
            if run.spec.federation:
                return pending
            pending += await missing_labels(client, run.spec)
            nodes = await client.list(resources.NODES)
            pending += [f"wait until Node {name} is Ready" for name in not_ready(run.spec, nodes["items"])]
            return pending
    except (ApiError, TimeoutError, OSError):
        return nothing_yet


async def _apply(run: Run, observed: Observed) -> None:
    async with asyncio.TaskGroup() as tasks:
        # All addresses are known from the description, so certificates need no machine.
        tasks.create_task(_issue(run))
        tasks.create_task(_create_machines(run, observed))
        if needing_release(run.spec, observed):
            tasks.create_task(share_bundle(run))
    async with locked_hosts(run):
        with run.progress.phase("Check the hosts"):
            await gather_facts(run, [h for h in run.spec.hosts if h.name not in run.facts])
            await _check_hosts(run)
        await _bring_files(run, observed)
        async with asyncio.TaskGroup() as tasks:
            # The runtime needs nobody, and importing images takes a while.
            tasks.create_task(_start_runtime(run))
            tasks.create_task(_start_services(run))


async def _check_hosts(run: Run) -> None:
    """Hosts that others made and that are new to us are asked everything; what we made ourselves is as we made it."""
    new = any(not run.facts_of(host).laid_down for host in run.spec.hosts)
    if run.spec.provider is not Provider.STATIC or not new:
        validate_hosts(run.spec, run.facts, run.skipped_checks)
        return
    results = await preflight(run)
    for warning in warnings_of(results):
        run.progress.line(f"warning: {warning.why}. {warning.cure}", warning.host)
    if failures := errors_of(results):
        raise_together(failures, len(run.spec.hosts))


async def _issue(run: Run) -> None:
    with run.progress.phase("Issue certificates"):
        await asyncio.to_thread(issue_certificates, run.spec, run.home.pki, dt.datetime.now(dt.UTC))
        write_for(run, run.spec.api_endpoint)


async def _create_machines(run: Run, observed: Observed) -> None:
    missing = [h for h in run.spec.hosts if observed.machines[h.name] is not MachineState.RUNNING]
    if missing:
        with run.progress.phase("Create machines"):
            await run.provider.create(run.spec.hosts, run.progress.line)
            await connect_hosts(run, run.spec.hosts, booting=True)


async def _bring_files(run: Run, observed: Observed) -> None:
    """The release and every file, on the hosts that lack something."""
    assert run.bundle is not None  # noqa: S101 - observe built it
    now = Observed(
        release=observed.release,
        facts=dict(run.facts),
        # Anew: certificates were issued and interfaces found meanwhile.
        wanted_inputs=wanted_inputs(run, run.bundle.digest),
        recorded=observed.recorded,
    )
    if lacking := needing_release(run.spec, now):
        with run.progress.phase("Push the bundle"):
            await push_bundle(run, lacking)
    if unready := needing_files(run.spec, now):
        with run.progress.phase("Lay down files"):
            await lay_down(run, unready)


async def _start_runtime(run: Run) -> None:
    if not run.spec.with_role(Role.NODE):
        return
    with run.progress.phase("Start the container runtime"):
        await start_runtime(run)


async def _start_services(run: Run) -> None:
    if run.spec.with_role(Role.ETCD):
        with run.progress.phase("Start etcd"):
            await start_etcd(run)
    with run.progress.phase("Start the control plane"):
        await start_control_plane(run)
    if run.spec.federation:
        await _start_name_servers(run)
        return
    async with admin_client(run) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(_apply_addons(run, client))
        tasks.create_task(_join_nodes(run, client))


async def _start_name_servers(run: Run) -> None:
    async with admin_client(run) as client:
        await _apply_addons(run, client)
    with run.progress.phase("Start name servers"):
        await start_name_servers(run)


async def _apply_addons(run: Run, client: ApiClient) -> None:
    with run.progress.phase("Apply add-ons"):
        for done in await apply_addons(client, run.spec):
            run.progress.line(done)


async def _join_nodes(run: Run, client: ApiClient) -> None:
    with run.progress.phase("Join nodes"):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(start_node_services(run))
            tasks.create_task(_wait_nodes(run, client))
        await label_masters(client, run.spec)


async def _wait_nodes(run: Run, client: ApiClient) -> None:
    try:
        await wait_nodes_ready(client, run.spec)
    except ProvisionError as error:
        # A Node seldom says that it waits for a controller; which unit has died says it better.
        await gather_facts(run, run.spec.hosts)
        dead = [
            f"{host.name}: {unit} does not run"
            for host in run.spec.hosts
            for unit in units_of(host)
            if not run.facts_of(host).unit(unit).active
        ]
        why = "; ".join([*dead, error.why])
        raise ProvisionError(error.what, why=why, next_step=error.next_step) from error
