"""
Workers on their way in. They are in the record from the first change on, so that `provision cluster` finishes them
too; this note is what tells the same `nodes add` that it has begun already and is not to add others beside them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from inventory.model import ClusterSpec, HostSpec
from provisioner.errors import ProvisionError
from provisioner.state import ClusterHome, write_atomically


def begin_joining(home: ClusterHome, command: Sequence[str], names: Sequence[str]) -> None:
    """
    Args:
        command: As it would be typed again.
        names: Of the hosts that come.
    """
    told = {"command": " ".join(command), "coming": list(names)}
    write_atomically(_path(home), json.dumps(told).encode(), mode=0o600)


def end_joining(home: ClusterHome) -> None:
    """All that came are there."""
    _path(home).unlink(missing_ok=True)


def joining(home: ClusterHome, spec: ClusterSpec, command: Sequence[str]) -> list[HostSpec]:
    """
    The hosts that an earlier run of this command began to add; empty when there was none.

    Args:
        spec: The recorded cluster. Who is not in it was not begun after all.
    """
    if not _path(home).exists():
        return []
    try:
        told = json.loads(_path(home).read_text())
        earlier, names = str(told["command"]), set(told["coming"])
    except (ValueError, TypeError, KeyError) as error:
        raise ProvisionError(
            f"cannot read {_path(home)}", why=str(error),
            next_step=f"Run `provision cluster {home.name}`, which finishes what was begun.",
        ) from error  # fmt: skip
    coming = [host for host in spec.hosts if host.name in names]
    if coming and earlier != " ".join(command):
        raise ProvisionError(
            f"{', '.join(host.name for host in coming)} came to {home.name} half way",
            why="an earlier run that adds them did not come to its end",
            next_step=f"Run `{earlier}` again, or `provision cluster {home.name}`; both finish it.",
        )  # fmt: skip
    return coming


def _path(home: ClusterHome) -> Path:
    return home.path / "joining.json"
