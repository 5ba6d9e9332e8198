"""
A change of masters from its first step to its last, however many runs that takes: who comes and who goes was decided
by the first run, and the same command goes on with it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from provisioner.errors import ProvisionError
from provisioner.state import ClusterHome, ClusterRecord, record_of, write_atomically


@dataclass(frozen=True, slots=True)
class PendingChange:
    """What was begun."""

    command: str
    """As the operator would type it again."""
    coming: tuple[str, ...]
    going: tuple[str, ...]
    dead: tuple[str, ...]
    after: ClusterRecord
    """What will be remembered of the cluster when all is done."""


def read_pending(home: ClusterHome) -> PendingChange | None:
    """None when nothing is half done."""
    path = _path(home)
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text())
        return PendingChange(
            told["command"], tuple(told["coming"]), tuple(told["going"]), tuple(told["dead"]), record_of(told["after"])
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProvisionError(
            f"cannot read {path}", why=str(error),
            next_step="Restore the file, or remove it and look at `provision etcd status` for what was done.",
        ) from error  # fmt: skip


def write_pending(home: ClusterHome, pending: PendingChange) -> None:
    write_atomically(_path(home), json.dumps(asdict(pending), indent=1).encode(), mode=0o600)


def forget_pending(home: ClusterHome) -> None:
    _path(home).unlink(missing_ok=True)


def begun(home: ClusterHome, command: Sequence[str]) -> PendingChange | None:
    """What this very command began, if it did. Raises ProvisionError when another one is half done."""
    pending = read_pending(home)
    if pending is not None and pending.command != " ".join(command):
        raise half_done(home, pending)
    return pending


def refuse_half_done(home: ClusterHome) -> None:
    """Raises ProvisionError while masters are being changed: what is on hosts and what is described differ."""
    pending = read_pending(home)
    if pending is not None:
        raise half_done(home, pending)


def half_done(home: ClusterHome, pending: PendingChange) -> ProvisionError:
    return ProvisionError(
        f"masters of cluster {home.name} are being changed", why="an earlier run did not come to its end",
        next_step=f"Run `{pending.command}` again first: it goes on where it was.",
    )  # fmt: skip


def _path(home: ClusterHome) -> Path:
    return home.path / "changing.json"
