"""
What a host is like, asked with one command that answers in JSON.

`read_facts` is the only I/O; `parse_facts` is pure. A host that does not exist yet has the facts of `FRESH`.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inventory.model import HostSpec, Role
from provisioner.errors import HostUnfitError
from provisioner.facts import facts_script
from provisioner.transports.base import Transport

CONTROL_PLANE_UNITS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
RUNTIME_UNITS = ("containerd", "hanse-images")
NODE_UNITS = ("kubelet", "kube-proxy", "cluster-dns")
ETCD_UNIT = "etcd"
FEDERATION_UNITS = ("federation-apiserver", "federation-controller-manager")
SERVING_UNITS = (*CONTROL_PLANE_UNITS, *FEDERATION_UNITS)
"""Whatever serves an API; a host has those of a cluster or those of a federation."""
NAME_SERVER_UNIT = "federation-dns"
API_ADDRESS_UNIT = "api-address"
FEDERATION_LATE_UNITS = (NAME_SERVER_UNIT, API_ADDRESS_UNIT)
"""They are let into the API by objects that the provisioner makes there first."""
ALL_UNITS = (
    ETCD_UNIT,
    *CONTROL_PLANE_UNITS,
    *RUNTIME_UNITS,
    *NODE_UNITS,
    *FEDERATION_UNITS,
    *FEDERATION_LATE_UNITS,
)


def units_of(host: HostSpec) -> tuple[str, ...]:
    """Every unit that belongs on the host, in the order of starting."""
    return (
        *((ETCD_UNIT,) if host.has(Role.ETCD) else ()),
        *(CONTROL_PLANE_UNITS if host.has(Role.CONTROL_PLANE) else ()),
        *((*FEDERATION_UNITS, NAME_SERVER_UNIT) if host.has(Role.FEDERATION) else ()),
        *((API_ADDRESS_UNIT,) if host.has(Role.API_ADDRESS) else ()),
        *((*RUNTIME_UNITS, *NODE_UNITS) if host.has(Role.NODE) else ()),
    )


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """One systemd unit."""

    active: bool = False
    failed: bool = False
    stale: bool = False
    """It runs, but from inputs that have changed since its start."""
    inputs: str = ""
    """Hash of what the running process was started from."""
    started: int = 0
    """Microseconds on the host's monotonic clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """One host at one moment."""

    os_id: str = ""
    os_name: str = ""
    architecture: str = ""
    python: tuple[int, int] = (0, 0)
    glibc: tuple[int, int] = (0, 0)
    cgroup_version: int = 0
    systemd: bool = False
    memory: int = 0
    """Bytes in all."""
    free: Mapping[str, int] = field(default_factory=dict)
    """Directory -> bytes free on its filesystem."""
    clock_skew: float = 0.0
    """Seconds the host's clock is ahead of ours; half a round trip is the error."""
    listening: Mapping[int, str] = field(default_factory=dict)
    """TCP port -> the program that listens."""
    listening_units: Mapping[int, str] = field(default_factory=dict)
    """TCP port -> the systemd service of that program; empty when it is none's."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Address -> interface."""
    mtu: Mapping[str, int] = field(default_factory=dict)
    """Interface -> bytes of its largest packet."""
    swap: bool = False
    missing_programs: tuple[str, ...] = ()
    release: str = ""
    """What /opt/hanse/current points to."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """Digest -> version of Kubernetes that it serves, of what is unpacked."""
    laid_down: str = ""
    """Hash over every file that the roles' records name; empty when there is none."""
    units: Mapping[str, UnitFacts] = field(default_factory=dict)

    def unit(self, name: str) -> UnitFacts:
        return self.units.get(name, UnitFacts())


FRESH = HostFacts()
"""A machine that is still to be made."""


async def read_facts(transport: Transport, host: HostSpec) -> HostFacts:
    """Ask one host. Raises HostUnreachableError, HostUnfitError when it answers nonsense."""
    question = json.dumps({"units": ALL_UNITS})
    before = time.time()
    result = await transport.run(["python3", "-I", "-", question], stdin=facts_script.SOURCE)
    after = time.time()
    if result.exit_code != 0:
        raise HostUnfitError(
            "facts cannot be read", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Check Python on the host (`python3 --version`), then run again.", host=host.name,
        )  # fmt: skip
    return parse_facts(json.loads(result.stdout), (before + after) / 2)


def parse_facts(told: Mapping[str, Any], asked_at: float) -> HostFacts:
    units = {
        name: UnitFacts(
            active=unit["active"] == "active",
            failed=unit["active"] == "failed",
            stale=bool(unit["running_inputs"]) and unit["running_inputs"] != unit["wanted_inputs"],
            inputs=unit["running_inputs"],
            started=int(unit["started"] or 0),
        )
        for name, unit in told["units"].items()
    }
    return HostFacts(
        os_id=told["os"].get("ID", ""),
        os_name=told["os"].get("PRETTY_NAME", ""),
        architecture=told["architecture"],
        python=(told["python"][0], told["python"][1]),
        glibc=(told["glibc"][0], told["glibc"][1]),
        cgroup_version=told["cgroup_version"],
        systemd=told["systemd"],
        memory=told["memory"],
        free=told["free"],
        clock_skew=told["time"] - asked_at,
        listening={int(port): program for port, (program, _) in told["listening"].items()},
        listening_units={int(port): unit for port, (_, unit) in told["listening"].items()},
        addresses=told["addresses"],
        mtu=told["mtu"],
        swap=told["swap"],
        missing_programs=tuple(told["missing_programs"]),
        release=told["release"],
        releases=dict(told["releases"]),
        laid_down=told["laid_down"],
        units=units,
    )
