"""
Where the operator's side keeps what it must remember: `$HANSE_HOME`, one folder a cluster.

    cache/                       bundles and the local machines' base image; may be deleted at any time
    clusters/NAME/cluster.json   what was asked for, so that status, verify and destroy need no arguments
    clusters/NAME/pki/           CA keys and certificates, 0600 in a 0700 folder
    clusters/NAME/known_hosts    pinned host keys
    clusters/NAME/kubeconfig     the operator's way in
    clusters/NAME/releases/      unpacked releases that local machines share
    clusters/NAME/journal        what was made on this machine
    clusters/NAME/ledger         what was done, when and by whom
    clusters/NAME/snapshots/     sealed snapshots of etcd
    clusters/NAME/lock           held by the one run that changes the cluster
    federation-hosts/NAME/       the same of a federation's control plane; federations/ is another program's
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionError

CLUSTER, FEDERATION = "cluster", "federation"
_HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names that `write_atomically` and `tempfile` give."""
_FOLDERS = {CLUSTER: "clusters", FEDERATION: "federation-hosts"}


class LockedError(ProvisionError):
    """Somebody else changes this cluster. Remedy: wait for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRecord:
    """What was asked for. `inventory` is the text of the file of a static cluster."""

    provider: str
    nodes: int = 0
    masters: int | None = None
    etcd_members: int | None = None
    subnet: str = ""
    inventory: str = ""
    inventory_name: str = ""
    dns_zone: str = ""
    """Of a federation."""
    region: str = ""
    zone: str = ""
    """Where local machines claim to be."""
    absent: tuple[str, ...] = ()
    """Hosts that left: named by the description, and no part of the cluster any more."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Host name -> its roles, once hosts came or went; where they differ from the description's, these hold."""
    quorum_formed: bool = False
    """Members of etcd came after it was made."""
    destroying: bool = False
    """A destroy has begun. Half a quorum is no cluster, so only another destroy may follow."""


class ClusterHome:
    """The folder of one cluster, or of one federation's hosts. Nothing is made until something is written."""

    def __init__(self, home: Path, name: str, *, kind: str = CLUSTER) -> None:
        self.name = name
        self.kind = kind
        self._home = home
        self.cache = home / "cache"
        self.path = home / _FOLDERS[kind] / name
        self.pki = self.path / "pki"
        self.known_hosts = self.path / "known_hosts"
        self.ssh_key = self.path / "ssh" / "id_ed25519"
        self.kubeconfig = self.path / "kubeconfig"
        self.journal = self.path / "journal"
        self.ledger = self.path / "ledger"
        self.snapshots = self.path / "snapshots"
        self.machines = self.path / "machines"
        self.releases = self.path / "releases"
        self._record = self.path / "cluster.json"

    def read_record(self) -> ClusterRecord | None:
        """None when the cluster was never made here."""
        if not self._record.exists():
            return None
        try:
            return record_of(json.loads(self._record.read_text()))
        except (ValueError, TypeError, AttributeError) as error:
            raise ProvisionError(
                f"cannot read {self._record}", why=str(error), next_step="Restore the file or destroy the cluster."
            ) from error

    def subnets_of_others(self) -> list[str]:
        """Of local machines whose records lie beside this one, running or not."""
        records = [
            record
            for kind in _FOLDERS
            for name in cluster_names(self._home, kind)
            if (other := ClusterHome(self._home, name, kind=kind)).path != self.path
            and (record := other.read_record()) is not None
        ]
        return [record.subnet for record in records if record.subnet]

    def write_record(self, record: ClusterRecord) -> None:
        self.make()
        write_atomically(self._record, json.dumps(asdict(record), indent=1).encode(), mode=0o600)

    def make(self) -> None:
        """The folder, closed to others: it will hold CA keys."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def remove(self) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)

    def forget_host(self, host: str) -> None:
        """Its keys and certificates: nobody needs them any more."""
        keys = self.pki / "hosts" / host
        if keys.exists():
            shutil.rmtree(keys)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by whoever changes the cluster; the kernel drops it when its holder dies. Raises LockedError."""
        self.make()
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise LockedError(
                    f"{self.kind} {self.name} is being changed by another run",
                    why=f"process {holder} holds {file.name}",
                    next_step="Wait until it ends, then run again.",
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._remove_half_written()
            yield

    def _remove_half_written(self) -> None:
        """What killed runs left beside the files that they wrote: keys, among others. Whoever holds the lock writes."""
        for folder, folders, files in os.walk(self.path):
            if Path(folder) == self.path:
                folders[:] = [name for name in folders if name not in (self.machines.name, self.releases.name)]
            for name in files:
                if _HALF_WRITTEN.fullmatch(name):
                    Path(folder, name).unlink(missing_ok=True)


def record_of(told: Any) -> ClusterRecord:
    """From JSON. Raises TypeError or AttributeError for what is none."""
    roles = {host: tuple(has) for host, has in (told.get("roles") or {}).items()}
    return ClusterRecord(**{**told, "absent": tuple(told.get("absent") or ()), "roles": roles})


def hanse_home() -> Path:
    """$HANSE_HOME, else ~/.hanse."""
    given = os.environ.get("HANSE_HOME", "")
    return Path(given).expanduser().absolute() if given else Path.home() / ".hanse"


def cluster_names(home: Path, kind: str = CLUSTER) -> list[str]:
    folder = home / _FOLDERS[kind]
    return sorted(p.name for p in folder.iterdir() if (p / "cluster.json").exists()) if folder.is_dir() else []


def write_atomically(path: Path, content: bytes, *, mode: int) -> None:
    """Never half a file, never readable by others before it has its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
