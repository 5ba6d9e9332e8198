"""
What is left to do, worked out from what is wished and what was found. Pure: no clock, no network.

`make_plan` is what `--dry-run` prints. The phases ask the same functions below, so what they do is what it says.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.facts.host_facts import FEDERATION_LATE_UNITS, FRESH, SERVING_UNITS, HostFacts, units_of
from provisioner.machines.base import MachineState


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that apply would do. `host` is empty for what concerns the operator's machine or the API."""

    phase: str
    what: str
    host: str = ""

    def __str__(self) -> str:
        return f"{self.host}: {self.what}" if self.host else self.what


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What Ansible's check mode says about one host."""

    paths: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Unit -> hash of its inputs, of those whose file changes. A process that runs from others needs a restart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What was found before anything is changed."""

    release: str
    """Digest of the bundle that hosts should run."""
    machines: Mapping[str, MachineState] = field(default_factory=dict)
    facts: Mapping[str, HostFacts] = field(default_factory=dict)
    """Of hosts that answer; the others are fresh."""
    certificates: Sequence[str] = ()
    """A sentence for each certificate that is missing or to be renewed."""
    wanted_inputs: Mapping[str, str] = field(default_factory=dict)
    """Host name -> hash of all that its files are made from."""
    file_changes: Mapping[str, "FileChanges"] = field(default_factory=dict)
    """Host name -> what laying down would change, as far as hosts were asked."""
    recorded: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Host name -> (hash of inputs, hash of files) after files were last laid down."""
    api: Sequence[str] = ()
    """A sentence for each object that is missing or differs in the API."""

    def of(self, host: HostSpec) -> HostFacts:
        return self.facts.get(host.name, FRESH)


def make_plan(spec: ClusterSpec, observed: Observed) -> tuple[Change, ...]:
    """Every change, in the order of the phases. Empty when all is as it should be."""
    changes: list[Change] = []
    for host in spec.hosts:
        state = observed.machines.get(host.name, MachineState.RUNNING)
        if state is not MachineState.RUNNING:
            verb = "make" if state is MachineState.ABSENT else "start"
            changes.append(Change("Create machines", f"{verb} the machine", host.name))
    changes += [Change("Issue certificates", text) for text in observed.certificates]
    changes += [
        Change("Push the bundle", f"unpack release {observed.release}", host.name)
        for host in needing_release(spec, observed)
    ]
    for host in needing_files(spec, observed):
        known = observed.file_changes.get(host.name)
        texts = (
            [f"change {path}" for path in known.paths] or ["compare the roles' files; none differs"]
            if known
            else ["bring the roles' files to their desired state"]
        )
        changes += [Change("Lay down files", text, host.name) for text in texts]
    for phase, hosts in (
        ("Start etcd", spec.with_role(Role.ETCD)),
        ("Start the control plane", [host for host in spec.hosts if host.serves_api]),
        ("Join nodes", spec.with_role(Role.NODE)),
        ("Start name servers", spec.with_role(Role.FEDERATION)),
    ):
        for host in hosts:
            changes += [Change(phase, text, host.name) for text in _unit_changes(phase, host, observed)]
    changes += [Change("Apply add-ons", text) for text in observed.api]
    return tuple(changes)


def needing_release(spec: ClusterSpec, observed: Observed) -> list[HostSpec]:
    return [host for host in spec.hosts if observed.release not in observed.of(host).releases]


def needing_files(spec: ClusterSpec, observed: Observed) -> list[HostSpec]:
    """Hosts whose files were made from something else, or were changed by somebody since."""
    return [
        host
        for host in spec.hosts
        if not observed.of(host).laid_down
        or observed.recorded.get(host.name) != (observed.wanted_inputs.get(host.name, ""), observed.of(host).laid_down)
    ]


def units_to_start(host: HostSpec, facts: HostFacts, units: Sequence[str]) -> list[str]:
    """Of `units`, those that belong on the host and do not run."""
    return [unit for unit in units if unit in units_of(host) and not facts.unit(unit).active]


def units_to_restart(host: HostSpec, facts: HostFacts, units: Sequence[str]) -> list[str]:
    """Of `units`, those that run from inputs that have changed since."""
    return [unit for unit in units if unit in units_of(host) and facts.unit(unit).active and facts.unit(unit).stale]


def _unit_changes(phase: str, host: HostSpec, observed: Observed) -> list[str]:
    units, facts = PHASE_UNITS[phase], observed.of(host)
    if expected := observed.file_changes.get(host.name):
        facts = _with_inputs(facts, expected.inputs)
    elif facts.release and facts.release != observed.release:
        # Every unit's inputs name its release, so a new one makes all that run stale.
        known = {name: dataclasses.replace(unit, stale=unit.active) for name, unit in facts.units.items()}
        facts = dataclasses.replace(facts, units=known)
    return [f"start {unit}" for unit in units_to_start(host, facts, units)] + [
        f"restart {unit}" for unit in units_to_restart(host, facts, units)
    ]


def _with_inputs(facts: HostFacts, inputs: Mapping[str, str]) -> HostFacts:
    units = {
        name: dataclasses.replace(unit, stale=bool(unit.inputs) and unit.inputs != inputs[name])
        if name in inputs
        else unit
        for name, unit in facts.units.items()
    }
    return dataclasses.replace(facts, units=units)


PHASE_UNITS: Mapping[str, tuple[str, ...]] = {
    "Start etcd": ("etcd",),
    "Start the control plane": SERVING_UNITS,
    "Join nodes": ("containerd", "hanse-images", "kubelet", "kube-proxy", "cluster-dns"),
    "Start name servers": FEDERATION_LATE_UNITS,
}
"""Which phase starts which units, of those that belong on a host."""
