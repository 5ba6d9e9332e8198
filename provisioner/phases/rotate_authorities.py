"""
The CAs' files on the operator's side while they are rotated: two generations of all CAs and of the key of tokens of
ServiceAccounts, and what of both is in force.

    pki/rotation/old, pki/rotation/new   the same files as below pki/: ca.crt, ca.key, etcd/ca.crt, … sa.key, sa.pub
    pki/rotation/stage.json              which stage is wished; pki/'s own files follow from it and the two folders

Hosts get what is in pki/, so every other verb goes on in the middle of a rotation. Blocking, some milliseconds.
"""

import datetime as dt
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from cluster.pki import catalogue, service_account_key
from cluster.pki.authority import make_authority
from inventory.model import ClusterSpec
from provisioner.errors import ProvisionError
from provisioner.phases.issue_certificates import authority_name
from provisioner.state import write_atomically

FOLDER = "rotation"


class Stage(StrEnum):
    """How far the new generation has come. Each but the first and the last trusts both, or can go back to it."""

    START = "start"
    """The old ones alone."""
    TRUST = "trust"
    """Both are trusted, the old ones sign."""
    SIGN = "sign"
    """Both are trusted, the new ones sign."""
    DROP = "drop"
    """The new CAs alone; tokens that the old key signed are still good."""
    RETIRE = "retire"
    """Nothing of the old."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rotation is; kept in stage.json."""

    stage: Stage = Stage.START
    whole: bool = True
    """Hosts were brought to the stage and its gate has opened."""
    back: bool = False
    """It is being returned to."""


def read_progress(pki: Path) -> Progress:
    """START when none goes on. Raises ProvisionError for a file that is damaged."""
    path = pki / FOLDER / "stage.json"
    if not path.exists():
        return Progress()
    try:
        told = json.loads(path.read_text())
        return Progress(Stage(told["stage"]), bool(told["whole"]), bool(told["back"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ProvisionError(
            f"cannot read {path}", why=str(error) or type(error).__name__,
            next_step="Restore it from a backup of the cluster's folder; the CAs beside it are whole.",
        ) from error  # fmt: skip


def write_progress(pki: Path, progress: Progress) -> None:
    write_atomically(pki / FOLDER / "stage.json", json.dumps(asdict(progress)).encode(), mode=0o600)


def begin(spec: ClusterSpec, pki: Path, now: dt.datetime, *, anew: bool = False) -> None:
    """
    Make a generation beside the one in force, at once or not at all. What is in force does not change yet.

    Args:
        spec: The cluster.
        pki: Its folder.
        now: Aware moment.
        anew: Although there is a rotation, at stage DROP: its new generation is this one's old one. What tokens are
            accepted stays as it is, until this rotation retires them all.
    """
    if (pki / FOLDER).exists() and not anew:
        return
    shutil.rmtree(pki / f".{FOLDER}.former", ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=pki, prefix=f".{FOLDER}."))
    try:
        for name in _names():
            _copy(pki / name, folder / "old" / name)
        for entry in catalogue.AUTHORITIES:
            made = make_authority(authority_name(entry, spec), now=now)
            write_atomically(folder / "new" / f"{entry.path}.crt", made.certificate_pem, mode=0o644)
            write_atomically(folder / "new" / f"{entry.path}.key", made.key_pem, mode=0o600)
        private, public = service_account_key.make_service_account_key()
        write_atomically(folder / "new" / service_account_key.PRIVATE_FILE, private, mode=0o600)
        write_atomically(folder / "new" / service_account_key.PUBLIC_FILE, public, mode=0o644)
        told = asdict(Progress(Stage.START, whole=False))
        write_atomically(folder / "stage.json", json.dumps(told).encode(), mode=0o600)
        if anew:  # cut off here there is none, and what is in force is whole
            os.rename(pki / FOLDER, pki / f".{FOLDER}.former")
        os.rename(folder, pki / FOLDER)
        shutil.rmtree(pki / f".{FOLDER}.former", ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def settle(pki: Path, stage: Stage) -> None:
    """Bring pki/'s own files to the stage. Cut off anywhere, another call does the rest."""
    for name in sorted(_names(), key=lambda name: name.endswith((".key",))):
        content = in_force(pki, name, stage)
        if (pki / name).read_bytes() != content:
            write_atomically(pki / name, content, mode=0o600 if name.endswith(".key") else 0o644)


def is_settled(pki: Path, stage: Stage) -> bool:
    return all((pki / name).read_bytes() == in_force(pki, name, stage) for name in _names())


def end(pki: Path) -> None:
    """Forget the generation that is not in force, its keys with it."""
    shutil.rmtree(pki / FOLDER, ignore_errors=True)


def generation(pki: Path, which: str, name: str) -> bytes:
    """One file of `old` or `new`."""
    return (pki / FOLDER / which / name).read_bytes()


def in_force(pki: Path, name: str, stage: Stage) -> bytes:
    """What the file says at that stage."""
    old, new = generation(pki, "old", name), generation(pki, "new", name)
    if name.endswith(".key"):
        return new if signs_new(stage) else old
    both = old + new
    if stage is Stage.START:
        return old
    if stage is Stage.DROP and name != service_account_key.PUBLIC_FILE:
        return new
    return new if stage is Stage.RETIRE else both


def signs_new(stage: Stage) -> bool:
    return stage in (Stage.SIGN, Stage.DROP, Stage.RETIRE)


def trusted(stage: Stage) -> tuple[str, ...]:
    """Which generations of CAs are accepted."""
    if stage is Stage.START:
        return ("old",)
    return ("new",) if stage in (Stage.DROP, Stage.RETIRE) else ("old", "new")


def _names() -> list[str]:
    stems = [entry.path for entry in catalogue.AUTHORITIES]
    keys = [service_account_key.PRIVATE_FILE, service_account_key.PUBLIC_FILE]
    return [f"{stem}{suffix}" for stem in stems for suffix in (".crt", ".key")] + keys


def _copy(source: Path, target: Path) -> None:
    mode = 0o600 if source.suffix == ".key" else 0o644
    write_atomically(target, source.read_bytes(), mode=mode)
