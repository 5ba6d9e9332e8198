"""Two releases that differ in one file: the one at hand, and another one."""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.kill_points.site import Site


def two_releases(site: Site) -> tuple[str, str]:
    """Digests; the first is what the cluster runs, the second was imported."""
    running = {host["release"] for host in site.status()["hosts"]}
    assert len(running) == 1, running
    [first] = running
    other = hashlib.sha256(f"{first} and another file".encode()).hexdigest()[:16]
    if not (site.home / "cache" / "imported" / f"{other}.tar.zst").exists():
        _import_changed(site, first, other)
    return first, other


def _import_changed(site: Site, first: str, other: str) -> None:
    archive = site.state.path / "bundle" / f"{first}.tar.zst"
    with tempfile.TemporaryDirectory(dir=site.home) as scratch:
        tree, packed, file = Path(scratch, "tree"), Path(scratch, "release.tar.zst"), Path(scratch, "other.bundle")
        tree.mkdir()
        subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(tree)], check=True)
        (tree / "site-packages" / "cluster" / "other.txt").write_text("another release\n")
        subprocess.run(["tar", "-C", str(tree), "-I", "zstd -1 -T0", "-cf", str(packed), "."], check=True)
        note = json.dumps({"digest": other, "sha256": hashlib.sha256(packed.read_bytes()).hexdigest()}).encode()
        with tarfile.open(file, "w") as tar:
            entry = tarfile.TarInfo("bundle.json")
            entry.size = len(note)
            tar.addfile(entry, io.BytesIO(note))
            tar.add(packed, "release.tar.zst")
        site.must("bundle", "import", str(file))
