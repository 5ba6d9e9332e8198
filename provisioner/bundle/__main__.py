"""
`python -m provisioner.bundle`: build the bundle and say where it is; with --unpack DIR, lay its tree out as well.

Used by   `make bundle`, and tests that want the release's own etcd, containerd and nftables on this machine.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from provisioner.bundle.build import ensure_bundle


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m provisioner.bundle")
    home = Path(os.environ.get("HANSE_HOME", "~/.hanse")).expanduser()
    parser.add_argument("--cache-dir", type=Path, default=home / "cache")
    parser.add_argument("--unpack", type=Path, help="an empty folder that receives the release's tree")
    given = parser.parse_args()
    bundle = ensure_bundle(given.cache_dir, _report)
    if given.unpack:
        given.unpack.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "--zstd", "-xf", str(bundle.archive), "-C", str(given.unpack)], check=True)
    sys.stdout.write(f"{bundle.archive} {bundle.size} bytes, release {bundle.digest}\n")


def _report(step: str) -> None:
    sys.stderr.write(f"{step}\n")


if __name__ == "__main__":
    main()
