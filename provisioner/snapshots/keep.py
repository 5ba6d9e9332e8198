"""Which snapshots there are, and which may go. Names say cluster, time and revision."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".snapshot"
_NAME = re.compile(r"(?P<cluster>.+)-(?P<time>\d{8}T\d{6}Z)-(?P<revision>\d+)\.snapshot")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One sealed file."""

    path: Path
    cluster: str
    taken: dt.datetime
    revision: int
    """etcd's, when it was taken."""

    @property
    def name(self) -> str:
        return self.path.name


def file_name(cluster: str, taken: dt.datetime, revision: int) -> str:
    return f"{cluster}-{taken.strftime(_TIME)}-{revision}{SUFFIX}"


def parsed(path: Path) -> Snapshot | None:
    """What a file's name says; None for one that is named otherwise. Pure."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        return None
    taken = dt.datetime.strptime(named["time"], _TIME).replace(tzinfo=dt.UTC)
    return Snapshot(path, named["cluster"], taken, int(named["revision"]))


def snapshots_in(folder: Path) -> list[Snapshot]:
    """Oldest first. What is named otherwise is not ours, and is left out."""
    found = [parsed(path) for path in (folder.glob(f"*{SUFFIX}") if folder.is_dir() else ())]
    return sorted((one for one in found if one is not None), key=lambda one: (one.taken, one.revision))


def surplus(snapshots: Sequence[Snapshot], keep: int) -> list[Snapshot]:
    """Pure. The oldest beyond `keep`; at least one stays whatever is asked."""
    return list(snapshots[: max(0, len(snapshots) - max(1, keep))])
