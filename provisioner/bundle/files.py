"""
A bundle as one file that is carried to where no registry is: `export_bundle` and `import_bundle`.

The file is a tar of `bundle.json` (digest, sha256 and size of the archive, version) and `release.tar.zst`.
"""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from provisioner.bundle.build import Bundle
from provisioner.errors import InventoryError, ProvisionError
from provisioner.state import write_atomically

_NOTE, _ARCHIVE = "bundle.json", "release.tar.zst"
_MAX_NOTE = 4096


def export_bundle(bundle: Bundle, target: Path) -> None:
    """Whole or not at all."""
    note = json.dumps({"digest": bundle.digest, "sha256": bundle.archive_sha256, "size": bundle.size}).encode()
    partial = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(partial, "w") as tar:
            entry = tarfile.TarInfo(_NOTE)
            entry.size = len(note)
            tar.addfile(entry, io.BytesIO(note))
            tar.add(bundle.archive, _ARCHIVE)
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ProvisionError(
            f"cannot write {target}", why=str(error), next_step="Give a place with room for it."
        ) from error


def import_bundle(source: Path, cache: Path) -> Bundle:
    """Check the file and keep its bundle. Raises InventoryError for what is no bundle, or not whole."""
    folder = cache / "imported"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(source) as tar, tempfile.NamedTemporaryFile(dir=folder, delete=False) as out:
            note = _read_note(tar)
            found = _copy(_member(tar, _ARCHIVE), out)
            if found != note["sha256"]:
                Path(out.name).unlink()
                raise InventoryError(
                    f"{source} is no bundle that could be used", why=f"its sha256 is {found}, it says {note['sha256']}",
                    next_step="Export it again, and compare the files' digests after carrying them.",
                )  # fmt: skip
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise InventoryError(
            f"{source} is no bundle", why=str(error) or type(error).__name__,
            next_step="Make one with `provision bundle export FILE` where registries can be reached.",
        ) from error  # fmt: skip
    try:
        note["kubernetes"] = _kubernetes_in(Path(out.name), source)
        archive = folder / f"{note['digest']}.tar.zst"
        Path(out.name).rename(archive)
    except BaseException:
        Path(out.name).unlink(missing_ok=True)
        raise
    write_atomically(folder / f"{note['digest']}.json", json.dumps(note).encode(), mode=0o644)
    return _bundle(note, archive)


def _kubernetes_in(archive: Path, source: Path) -> str:
    """What the release itself says that it serves. Raises InventoryError."""
    try:
        with subprocess.Popen(["zstd", "-dcq", str(archive)], stdout=subprocess.PIPE) as unpacking:
            with tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar:
                facts = next((tar.extractfile(one) for one in tar if one.name == "./release.json"), None)
                told: Any = json.loads(facts.read(_MAX_NOTE)) if facts else None
            unpacking.kill()
        return str(told["kubernetes"])
    except (OSError, tarfile.TarError, ValueError, TypeError, KeyError) as error:
        raise InventoryError(
            f"{source} holds no release", why=f"its release.json cannot be read: {str(error) or type(error).__name__}",
            next_step="Make one with `provision bundle export FILE` where registries can be reached.",
        ) from error  # fmt: skip


def imported(cache: Path, digest: str) -> Bundle | None:
    """One that was imported before."""
    archive, note = cache / "imported" / f"{digest}.tar.zst", cache / "imported" / f"{digest}.json"
    if not archive.exists() or not note.exists():
        return None
    return _bundle(json.loads(note.read_text()), archive)


def _bundle(note: dict[str, Any], archive: Path) -> Bundle:
    return Bundle(note["digest"], archive, archive.stat().st_size, note["sha256"], note["kubernetes"])


def _read_note(tar: tarfile.TarFile) -> dict[str, Any]:
    note: Any = json.loads(_member(tar, _NOTE).read(_MAX_NOTE))
    # It becomes a file's name here and a folder's on hosts.
    if not isinstance(note, dict) or not all(isinstance(note.get(key), str) for key in ("digest", "sha256")):
        raise ValueError(f"{_NOTE} names no digest")
    if not (8 <= len(note["digest"]) <= 64 and set(note["digest"]) <= set("0123456789abcdef")):
        raise ValueError(f"{note['digest'][:80]!r} is no digest")
    return dict(note)


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.getmember(name)
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise ValueError(f"{name} is no file in it")
    return content


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Returns the sha256 of what was copied."""
    digest = hashlib.sha256()
    while piece := source.read(1 << 20):
        digest.update(piece)
        target.write(piece)
    target.flush()
    return digest.hexdigest()
