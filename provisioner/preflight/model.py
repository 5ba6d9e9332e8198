"""What checks are made of: what they look at, and what they say. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from inventory.model import ClusterSpec, HostSpec
from provisioner.facts.host_facts import HostFacts


class Severity(StrEnum):
    """An error stops the run, a warning is told."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Examined:
    """What `examine_host` said of one host, beyond its facts. Missing answers read as empty."""

    told: Mapping[str, Any] = field(default_factory=dict)
    round_trip: float = 0.0
    """Seconds that one command takes, there and back."""

    def __getitem__(self, name: str) -> Any:
        return self.told[name]

    def setting(self, name: str) -> int | None:
        """A number below /proc/sys, as in `kernel/pid_max`; None when the kernel has no such setting."""
        value = str(self.told["settings"].get(name) or "").split()
        return int(value[0]) if value and value[0].lstrip("-").isdigit() else None


@dataclass(frozen=True, slots=True)
class Subject:
    """One host that is judged."""

    spec: ClusterSpec
    host: HostSpec
    facts: HostFacts
    examined: Examined = Examined()

    @property
    def ours(self) -> bool:
        """It belongs to a cluster of ours already, and what lies there may be its own."""
        return bool(self.facts.laid_down)


@dataclass(frozen=True, slots=True)
class Reach:
    """What one host found when it called another."""

    source: str
    target: str
    closed: tuple[int, ...] = ()
    """TCP ports that could not be reached."""
    lost: bool = False
    """No answer to any ping."""
    whole_mtu: bool = True
    """A packet as large as the interface allows arrived in one piece."""
    seconds: float = 0.0
    """Round trip."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts that could be asked, and what they know of each other."""

    spec: ClusterSpec
    subjects: tuple[Subject, ...]
    reach: tuple[Reach, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong. `cure` replaces the check's own where the remedy has a name or number in it."""

    why: str
    cure: str = ""
    host: str = ""
    """Filled in by host checks' runner."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question. Exactly one of `host` and `fleet` answers it."""

    id: str
    title: str
    cure: str
    severity: Severity = Severity.ERROR
    host: Callable[[Subject], Iterable[Finding | str]] | None = None
    fleet: Callable[[Fleet], Iterable[Finding | str]] | None = None
    by_facts: bool = False
    """Facts alone answer it, so it is asked in every run."""


@dataclass(frozen=True, slots=True)
class Result:
    """A check's answer for one host, or for all where `host` is empty."""

    check: str
    severity: Severity
    host: str
    why: str
    cure: str

    def __str__(self) -> str:
        where = f"{self.host}: " if self.host else ""
        return f"{where}{self.why} [{self.check}]. {self.cure}"


def unless(holds: bool, why: str) -> Iterable[str]:
    """The reason of a check that does not hold."""
    return () if holds else (why,)
