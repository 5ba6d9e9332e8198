"""
The root filesystem that all local machines share: a bare Debian, as a fresh host would be.

Built once by mmdebstrap (about 25 s, 210 MB), kept in the cache under a key of all that goes into it. Machines
lay their own layer over it and never write to it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from provisioner.machines.base import Report
from provisioner.machines.programs import run_program

SUITE = "bookworm"

PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
    "zstd",
)
"""What a host must have, and what makes it answer. Everything else comes with the bundle."""

_RECIPE = "2"
"""Raise it when something below changes, so that the image is made anew."""

_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")

_MASKED = (
    # A machine lives for minutes and has no console, no e2fs and nobody who reads mail about updates.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "systemd-networkd-wait-online.service",
)


def ensure_base_image(cache: Path, report: Report) -> Path:
    """The image's folder; built first when the cache has none. Several runs at once build it once."""
    key = hashlib.sha256(json.dumps([_RECIPE, SUITE, PACKAGES, _LEFT_OUT, _MASKED]).encode()).hexdigest()[:12]
    image = cache / f"machine-{key}"
    if image.exists():
        return image
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "machine.lock"):
        if image.exists():
            return image
        report(f"Building the machines' base image (Debian {SUITE}, about half a minute, once)")
        for remains in cache.glob(".machine-*"):
            shutil.rmtree(remains)
        partial = cache / f".machine-{key}"
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        mirror = os.environ.get("HANSE_DEBIAN_MIRROR", "")
        argv = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        run_program([*argv, *excluded, SUITE, str(partial), *([mirror] if mirror else [])])
        _prepare(partial)
        partial.rename(image)
    return image


def _prepare(root: Path) -> None:
    units = root / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    # Each machine gets its own keys and identity.
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("")
    for leftover in ("etc/hostname", "etc/resolv.conf"):
        (root / leftover).unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
