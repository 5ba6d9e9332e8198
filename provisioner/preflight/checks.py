"""Every check, and how they are judged together. Pure."""

from collections.abc import Collection, Iterable, Iterator

from inventory.model import Role
from provisioner.preflight import judge_fleet, judge_network, judge_resources, judge_system
from provisioner.preflight.model import Check, Finding, Fleet, Result, Severity

CHECKS: tuple[Check, ...] = (
    *judge_system.CHECKS,
    *judge_resources.CHECKS,
    *judge_network.CHECKS,
    *judge_fleet.CHECKS,
)


OF_PODS = frozenset(
    {
        "cgroup.controllers", "cgroup.cpuset", "disk.containerd", "disk.containerd-filesystem", "kernel.bridge",
        "kernel.conntrack", "kernel.namespaces", "kernel.nf-conntrack-max", "kernel.nf-tables", "kernel.overlay",
        "kernel.rp-filter", "kernel.seccomp", "kernel.veth", "kernel.vxlan", "net.overlap", "net.vxlan-port",
        "os.nodev", "remains.cni-config", "remains.containerd-runs", "remains.crio-runs", "remains.docker-runs",
        "remains.links",
    }
)  # fmt: skip
"""Hosts of a federation run none, so these are not asked there."""


def unknown(ids: Iterable[str]) -> list[str]:
    """Those that no check has."""
    known = {check.id for check in CHECKS}
    return [one for one in ids if one not in known]


def judge(fleet: Fleet, skipped: Collection[str] = (), *, by_facts_alone: bool = False) -> list[Result]:
    """Everything that is wrong, errors first, then in the order of the checks."""
    asked = [one for one in CHECKS if one.id not in skipped and (one.by_facts or not by_facts_alone)]
    found = [result for check in asked for result in _judge(check, fleet)]
    return sorted(found, key=lambda result: result.severity is not Severity.ERROR)


def _judge(check: Check, fleet: Fleet) -> Iterator[Result]:
    if check.fleet is not None:
        for said in check.fleet(fleet):
            yield _result(check, said)
    elif check.host is not None:
        for subject in fleet.subjects:
            if check.id in OF_PODS and subject.host.has(Role.FEDERATION):
                continue
            for said in check.host(subject):
                yield _result(check, said, subject.host.name)


def _result(check: Check, said: Finding | str, host: str = "") -> Result:
    finding = Finding(said) if isinstance(said, str) else said
    return Result(check.id, check.severity, finding.host or host, finding.why, finding.cure or check.cure)
