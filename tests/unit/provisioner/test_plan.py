"""The plan is a function of what is wished and what was found."""

import dataclasses

import pytest

from inventory.model import ClusterSpec, FederationSettings
from inventory.sources.nspawn import local_cluster, local_federation
from provisioner.facts.host_facts import HostFacts, UnitFacts, units_of
from provisioner.machines.base import MachineState
from provisioner.plan import FileChanges, Observed, make_plan

RELEASE = "abc"


@pytest.fixture
def spec() -> ClusterSpec:
    return local_cluster("dev", 5, "10.89.0.0/24", "/key")


def finished(spec: ClusterSpec) -> Observed:
    """A cluster as apply leaves it."""
    facts = {
        host.name: HostFacts(
            release=RELEASE,
            releases={RELEASE: "1.36.2"},
            laid_down="files",
            units={unit: UnitFacts(active=True) for unit in units_of(host)},
        )
        for host in spec.hosts
    }
    names = [host.name for host in spec.hosts]
    return Observed(
        release=RELEASE,
        machines=dict.fromkeys(names, MachineState.RUNNING),
        facts=facts,
        wanted_inputs=dict.fromkeys(names, "inputs"),
        recorded=dict.fromkeys(names, ("inputs", "files")),
    )


def with_facts(observed: Observed, host: str, **changes: object) -> Observed:
    facts = {**observed.facts, host: dataclasses.replace(observed.facts[host], **changes)}  # type: ignore[arg-type]
    return dataclasses.replace(observed, facts=facts)


def test_nothing_is_left_to_do_on_a_finished_cluster(spec: ClusterSpec) -> None:
    assert make_plan(spec, finished(spec)) == ()


def test_phases_of_a_fresh_cluster_come_in_order(spec: ClusterSpec) -> None:
    machines = dict.fromkeys((host.name for host in spec.hosts), MachineState.ABSENT)

    plan = make_plan(spec, Observed(release=RELEASE, machines=machines, certificates=["issue x"], api=["create y"]))

    assert list(dict.fromkeys(change.phase for change in plan)) == [
        "Create machines",
        "Issue certificates",
        "Push the bundle",
        "Lay down files",
        "Start etcd",
        "Start the control plane",
        "Join nodes",
        "Apply add-ons",
    ]


def test_phases_of_a_fresh_federation_end_with_its_name_servers() -> None:
    federation = local_federation("prod", 3, "10.89.0.0/24", "/key", FederationSettings(zone="fed.example.com"))
    assert make_plan(federation, finished(federation)) == ()

    plan = make_plan(federation, dataclasses.replace(finished(federation), facts={}))

    assert [change.what for change in plan if change.host == "prod-1" and change.phase.startswith("Start")] == [
        "start etcd",
        "start federation-apiserver",
        "start federation-controller-manager",
        "start federation-dns",
        "start api-address",
    ]


def test_only_the_host_whose_file_was_changed_is_laid_down_again(spec: ClusterSpec) -> None:
    plan = make_plan(spec, with_facts(finished(spec), "dev-4", laid_down="changed by hand"))

    assert [(change.phase, change.host) for change in plan] == [("Lay down files", "dev-4")]


def test_a_stopped_machine_is_started_not_made(spec: ClusterSpec) -> None:
    observed = finished(spec)
    observed = dataclasses.replace(observed, machines={**observed.machines, "dev-2": MachineState.STOPPED})

    assert str(make_plan(spec, observed)[0]) == "dev-2: start the machine"


def test_a_unit_that_runs_from_old_files_is_restarted_and_a_dead_one_started(spec: ClusterSpec) -> None:
    units = {**finished(spec).facts["dev-1"].units, "kubelet": UnitFacts(active=True, stale=True), "etcd": UnitFacts()}

    plan = make_plan(spec, with_facts(finished(spec), "dev-1", units=units))

    assert [str(change) for change in plan] == ["dev-1: start etcd", "dev-1: restart kubelet"]


def test_a_new_release_concerns_every_host(spec: ClusterSpec) -> None:
    plan = make_plan(spec, dataclasses.replace(finished(spec), release="new"))

    assert sum(change.phase == "Push the bundle" for change in plan) == 5
    assert sum(change.what == "restart etcd" for change in plan) == 3


def test_files_that_a_host_was_asked_about_are_named_with_the_restarts_that_follow(spec: ClusterSpec) -> None:
    units = {
        **finished(spec).facts["dev-4"].units,
        "kubelet": UnitFacts(active=True, inputs="old"),
        "kube-proxy": UnitFacts(active=True, inputs="wanted", stale=True),
    }
    observed = dataclasses.replace(
        with_facts(finished(spec), "dev-4", laid_down="changed by hand", units=units),
        file_changes={"dev-4": FileChanges(("/etc/x", "/etc/y"), {"kubelet": "new", "kube-proxy": "wanted"})},
    )

    plan = make_plan(spec, observed)

    assert [str(c) for c in plan] == ["dev-4: change /etc/x", "dev-4: change /etc/y", "dev-4: restart kubelet"]


def test_without_the_operators_record_files_are_laid_down_again(spec: ClusterSpec) -> None:
    plan = make_plan(spec, dataclasses.replace(finished(spec), recorded={}))

    assert {change.phase for change in plan} == {"Lay down files"}
