"""
The services' part of a release: our Python packages, their dependencies, and one launcher a service.

A launcher is a four-line script that points Python at its own release, so a running service keeps its modules
while `current` already points at the next release.
"""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from provisioner.bundle.contents import HOST_PYTHON
from provisioner.errors import ProvisionError

LOCK_FILE = Path(__file__).with_name("requirements.lock")

LAUNCHERS = {
    "kube-apiserver": "cluster.apiserver",
    "kube-controller-manager": "cluster.controller_manager",
    "kube-scheduler": "cluster.scheduler",
    "kubelet": "cluster.kubelet",
    "kube-proxy": "cluster.kube_proxy",
    "cluster-dns": "cluster.dns",
    "api-address": "cluster.kube_proxy.hold_address",
    "federation-apiserver": "federation.apiserver",
    "federation-controller-manager": "federation.controller_manager",
    "federation-dns": "federation.dns_server",
}

_LAUNCHER = """#!/usr/bin/python3 -IS
import os, runpy, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "site-packages"))
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "decisions", "*.proto", ".gitkeep")


class BundleBuildError(ProvisionError):
    """The bundle cannot be built here. Remedy: what the message says, then run again."""


def install_dependencies(target: Path) -> None:
    """Put every pinned package into `target`, compiled. Takes the packages for the hosts' Python, not for ours."""
    version = ".".join(map(str, HOST_PYTHON))
    argv = [
        _uv(), "pip", "install", "--quiet", "--no-config", "--target", str(target), "--requirements", str(LOCK_FILE),
        "--require-hashes", "--only-binary", ":all:", "--python-version", version,
        "--python-platform", "x86_64-manylinux_2_34", "--link-mode", "copy", "--python", sys.executable,
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleBuildError(
            "cannot fetch the services' Python packages",
            why=" / ".join(done.stderr.strip().splitlines()[-3:]),
            next_step="Check that the package index is reachable, then run again.",
        )
    for leftover in ("bin", ".lock"):
        path = target / leftover
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def copy_services(source: Path, target: Path) -> None:
    """Copy a package of ours from `source` (its folder) into `target`."""
    shutil.copytree(source, target / source.name, ignore=_LEFT_OUT)


def compile_modules(target: Path) -> None:
    """
    Compile everything below `target`, if a Python of the hosts' minor version is at hand.

    Unchecked: no file time is looked at when a service starts. Without such a Python hosts compile in memory at
    every start, slower and not wrong.
    """
    python = _host_python()
    if python is None:
        return
    argv = [python, "-IS", "-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run([*argv, "-s", str(target), str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleBuildError(
            "cannot compile the services",
            why=(done.stdout + done.stderr).strip()[-400:] or f"compileall ended with {done.returncode}",
            next_step="Correct the module that the message names.",
        )


def write_launchers(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, module in LAUNCHERS.items():
        path = target / name
        path.write_text(_LAUNCHER.format(module=module))
        path.chmod(0o755)


def version() -> str:
    return importlib.metadata.version("hanse")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise BundleBuildError(
            "cannot build the bundle",
            why="the program `uv` is not beside this Python nor on PATH",
            next_step="Install the operator's packages: `pip install hanse[operator]`.",
        )
    return found


def _host_python() -> str | None:
    wanted = "import sys; sys.exit(sys.version_info[:2] != ({}, {}))".format(*HOST_PYTHON)
    for candidate in ("/usr/bin/python3", f"/usr/bin/python{HOST_PYTHON[0]}.{HOST_PYTHON[1]}", sys.executable):
        if Path(candidate).exists() and subprocess.run([candidate, "-c", wanted], check=False).returncode == 0:
            return candidate
    return None
