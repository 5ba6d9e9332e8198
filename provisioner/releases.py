"""
Which release a cluster is meant to run, and its archive: kept beside the cluster, so that it can be converged, and get
more hosts, from an operator's machine on which another release of ours is installed meanwhile.

    clusters/NAME/release.json           what it runs, what it ran before, and where a begun upgrade goes
    clusters/NAME/bundle/DIGEST.tar.zst  archives of the first two
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from provisioner.bundle.build import Bundle, Report, built_bundle, ensure_bundle
from provisioner.bundle.files import imported
from provisioner.errors import InventoryError, ProvisionError
from provisioner.state import ClusterHome, write_atomically


@dataclass(frozen=True, slots=True)
class Release:
    """One release, as a cluster remembers it. Digests are empty where there is none."""

    digest: str
    kubernetes: str
    """Version that it serves, as in 1.36.2."""
    sha256: str
    """Of its archive; empty when there was none at hand."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a cluster is meant to run."""

    current: Release
    earlier: Release | None = None
    """What it ran before the last upgrade."""
    going_to: str = ""
    """Digest that a begun upgrade goes to; hosts may run either until it has come to its end."""


def read_kept(home: ClusterHome) -> Kept | None:
    """None until the cluster was whole for the first time. Raises ProvisionError."""
    path = _note(home)
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text())
        earlier = Release(**told["earlier"]) if told.get("earlier") else None
        return Kept(Release(**told["current"]), earlier, told.get("going_to", ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProvisionError(
            f"cannot read {path}", why=str(error),
            next_step=f"Remove it, and run `provision upgrade {home.name} --to` the release that `status` shows.",
        ) from error  # fmt: skip


def keep_release(home: ClusterHome, bundle: Bundle) -> None:
    """The cluster runs this one from now on. The archive is there before the note names it."""
    kept = read_kept(home)
    if kept and kept.current.digest == bundle.digest and not kept.going_to:
        return
    _keep_archive(home, bundle)
    release = Release(bundle.digest, bundle.kubernetes, bundle.archive_sha256)
    earlier = None
    if kept:
        earlier = kept.earlier if kept.current.digest == bundle.digest else kept.current
    _write(home, Kept(release, earlier))
    stay = {_archive(home, one.digest).name for one in (release, earlier) if one}
    for path in _folder(home).glob("*"):
        if path.name not in stay:
            path.unlink()


def begin_upgrade(home: ClusterHome, bundle: Bundle) -> None:
    """Until `keep_release` or `end_upgrade` the cluster is on its way, and nothing else may converge it."""
    if kept := read_kept(home):
        _write(home, replace(kept, going_to=bundle.digest))


def end_upgrade(home: ClusterHome) -> None:
    """Every host runs the recorded release again."""
    if kept := read_kept(home):
        _write(home, replace(kept, going_to=""))


def earlier_release(home: ClusterHome) -> str:
    """Digest of what the cluster ran before its last upgrade, or a half one. Raises InventoryError."""
    kept = read_kept(home)
    if kept and kept.going_to:
        return kept.current.digest
    if kept is None or kept.earlier is None:
        raise InventoryError(
            f"cluster {home.name} has no earlier release", why="it was not upgraded from here",
            next_step="Name one with --to RELEASE.",
        )  # fmt: skip
    return kept.earlier.digest


def recorded_bundle(home: ClusterHome) -> Bundle | None:
    """What hosts should run; None for a cluster that was never whole. Raises ProvisionError in a half upgrade."""
    kept = read_kept(home)
    if kept is None:
        return None
    if kept.going_to:
        raise ProvisionError(
            f"cluster {home.name} is half upgraded", why=f"an upgrade to {kept.going_to} did not come to its end",
            next_step=f"Run `provision upgrade {home.name} --to {kept.going_to}` again, which goes on, or with "
            f"--to {kept.current.digest}, which goes back.",
        )  # fmt: skip
    return _bundle(home, kept.current)


def bundle_of(home: ClusterHome, report: Report) -> Bundle:
    """
    What hosts of this cluster should run: its own release, however new the one is that is installed here; that one for
    a cluster that was never whole, and for a federation, which has no upgrade of its own.

    Args:
        report: Is told when they differ, and of what takes time.
    """
    recorded = recorded_bundle(home)
    if recorded is None:
        return ensure_bundle(home.cache, report)
    if (ours := built_bundle(home.cache)) is None or ours.digest != recorded.digest:
        report(
            f"cluster {home.name} stays on its release {recorded.digest}; "
            f"`provision upgrade {home.name}` brings it to the one that is installed here"
        )
    return recorded


def find_bundle(home: ClusterHome, digest: str, everywhere: Mapping[str, str]) -> Bundle:
    """
    One that is named: kept with the cluster, imported, or unpacked on all hosts.

    Args:
        everywhere: Digest -> version of Kubernetes, of what all hosts have.

    Raises:
        InventoryError: there is none.
    """
    kept = read_kept(home)
    for release in (kept.current, kept.earlier) if kept else ():
        if release and release.digest == digest and (_archive(home, digest).exists() or digest in everywhere):
            return _bundle(home, release)
    if found := imported(home.cache, digest):
        return found
    if digest in everywhere:
        return _bundle(home, Release(digest, everywhere[digest], ""))
    raise InventoryError(
        f"there is no release {digest}", why=f"neither {home.cache / 'imported'} nor every host holds it",
        next_step="Bring it in with `provision bundle import FILE`.",
    )  # fmt: skip


def _bundle(home: ClusterHome, release: Release) -> Bundle:
    """Without its archive it does where hosts have it already."""
    archive = _archive(home, release.digest)
    size = archive.stat().st_size if archive.exists() else 0
    return Bundle(release.digest, archive, size, release.sha256, release.kubernetes)


def _keep_archive(home: ClusterHome, bundle: Bundle) -> None:
    target = _archive(home, bundle.digest)
    if target.exists() or not bundle.archive.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for killed in target.parent.glob(".*"):
        killed.unlink()
    with contextlib.suppress(OSError):  # another filesystem
        os.link(bundle.archive, target)
        return
    with (
        bundle.archive.open("rb") as source,
        tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as out,
    ):
        shutil.copyfileobj(source, out)
    Path(out.name).replace(target)


def _write(home: ClusterHome, kept: Kept) -> None:
    write_atomically(_note(home), json.dumps(asdict(kept), indent=1).encode(), mode=0o600)


def _note(home: ClusterHome) -> Path:
    return home.path / "release.json"


def _folder(home: ClusterHome) -> Path:
    return home.path / "bundle"


def _archive(home: ClusterHome, digest: str) -> Path:
    return _folder(home) / f"{digest}.tar.zst"
