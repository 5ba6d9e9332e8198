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
    taken: dt.datetime
    revision: int
    """etcd's, when it was taken."""

    @property
    def name(self) -> str:
        return self.path.name


def file_name(cluster: str, taken: dt.datetime, revision: int) -> str:
    return f"{cluster}-{taken.strftime(_TIME)}-{revision}{SUFFIX}"


def snapshots_in(folder: Path) -> list[Snapshot]:
    """Oldest first. What is named otherwise is not ours, and is left out."""
    found = []
    for path in folder.glob(f"*{SUFFIX}") if folder.is_dir() else ():
        if named := _NAME.fullmatch(path.name):
            taken = dt.datetime.strptime(named["time"], _TIME).replace(tzinfo=dt.UTC)
            found.append(Snapshot(path, taken, int(named["revision"])))
    return sorted(found, key=lambda one: (one.taken, one.revision))


def surplus(snapshots: Sequence[Snapshot], keep: int) -> list[Snapshot]:
    """Pure. The oldest beyond `keep`; at least one stays whatever is asked."""
    return list(snapshots[: max(0, len(snapshots) - max(1, keep))])
