"""The agent's image holds what the agent imports, and what invitations say is what nodes have."""

import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from federation.membership import agent_manifest
from provisioner.bundle import agent_image
from provisioner.bundle.agent_image import MODULES, PYTHON, agent_image as made

_IMPORTS = """
import importlib, pkgutil, sys
import federation.agent, federation.controllers.links
for package in (federation.agent, federation.controllers.links):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
for name in sorted({name.partition(".")[0] for name in sys.modules}):
    where = list(getattr(sys.modules[name], "__path__", [])) or [getattr(sys.modules[name], "__file__", None) or ""]
    if "site-packages/" in where[0]:
        print(where[0].partition("site-packages/")[2].partition("/")[0])
"""
_WITHOUT = {"uvloop", "bcrypt", "_distutils_hack"}
"""Quicker or nicer with, and right without."""


def test_the_agent_imports_no_package_that_its_image_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True)
    needed = set(done.stdout.split()) - _WITHOUT
    assert needed
    assert {name for name in needed if not any(fnmatch(name, pattern) for pattern in MODULES)} == set()


def test_invitations_name_the_image_that_releases_hold() -> None:
    assert agent_manifest.IMAGE == agent_image.NAME


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    unpacked, packages = tmp_path / "unpacked", tmp_path / "site-packages"
    for name in (
        f"usr/bin/python{PYTHON}", f"usr/lib/python{PYTHON}/json/tool.py", f"usr/lib/python{PYTHON}/test/big.py",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6", "usr/share/doc/libc6/copyright",
    ):  # fmt: skip
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_text(name)
    for pattern in (*MODULES, *agent_image.OURS):
        path = packages / pattern.replace("*", ".x")
        file = path if path.suffix else path / "__init__.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (packages / "aiohttp" / "source.pyx").touch()
    (packages / "psutil").mkdir()
    (packages / "cluster" / "schema.json").touch()
    return unpacked, packages


def test_the_image_has_python_our_services_and_no_more_of_packages_than_code(folders: tuple[Path, Path]) -> None:
    image = made(*folders, "1.2")
    paths = {file.path for file in image.files}
    assert image.name == "hanse.local/federation-agent:1.2"
    assert {"usr/bin/python3", f"usr/lib/python{PYTHON}/json/tool.py", "opt/agent/cluster/schema.json"} <= paths
    assert {"lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"} <= paths
    assert not [path for path in paths if "psutil" in path or path.endswith((".pyx", "big.py", "copyright"))]


def test_a_release_without_a_package_that_the_agent_needs_makes_no_image(folders: tuple[Path, Path]) -> None:
    (folders[1] / "orjson" / "__init__.py").unlink()
    (folders[1] / "orjson").rmdir()
    with pytest.raises(FileNotFoundError, match="no orjson"):
        made(*folders, "1.2")
