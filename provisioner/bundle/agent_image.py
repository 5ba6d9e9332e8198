"""
The image of the federation's agent: Debian's Python, the packages that the agent imports, and our services. Pure but
for reading files.

The files of our services are those of the release, so the image in a bundle is always of that bundle's version.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from provisioner.bundle.contents import HOST_PYTHON
from provisioner.bundle.images import Image, ImageFile

NAME = "hanse.local/federation-agent"
"""The tag is the version. `federate join --pull` takes it for granted on clusters of ours."""
PYTHON = ".".join(map(str, HOST_PYTHON))
PACKAGES: dict[str, tuple[str, ...]] = {
    "bookworm": (
        "libbz2-1.0",
        "libc6",
        "libexpat1",
        "libffi8",
        "libgcc-s1",
        "liblzma5",
        f"libpython{PYTHON}-minimal",
        f"libpython{PYTHON}-stdlib",
        "libssl3",
        "libuuid1",
        f"python{PYTHON}-minimal",
        "zlib1g",
    )
}
"""Debian release -> what Python is unpacked from."""
MODULES = (
    "_cffi_backend*.so", "_yaml", "aiohappyeyeballs", "aiohttp", "aiosignal", "attr", "attrs", "cryptography",
    "frozenlist", "idna", "jwt", "multidict", "orjson", "propcache", "typing_extensions.py", "yaml", "yarl",
)  # fmt: skip
"""
Of the services' Python packages those that the agent imports; patterns of names in site-packages. It does without
uvloop, which would be a sixth of the image.
"""
OURS = ("cluster", "federation")
USER = 65532
_LIBRARIES = "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"
_LOADER = "ld-linux-x86-64.so.2"
_SONAME = re.compile(r"lib[\w+.-]+?\.so\.[\d.]+")
_STDLIB_LEFT_OUT = frozenset({"ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "venv"})
_CODE = frozenset({".py", ".pyc", ".so"})


def agent_image(unpacked: Path, site_packages: Path, version: str) -> Image:
    """
    Args:
        unpacked: folder that holds the files of PACKAGES.
        site_packages: the release's.
    """
    return Image(
        name=f"{NAME}:{version}",
        files=(
            ImageFile("usr/bin/python3", (unpacked / f"usr/bin/python{PYTHON}").read_bytes(), 0o755),
            *_standard_library(unpacked),
            *_shared_libraries(unpacked),
            *_packages(site_packages),
            ImageFile("etc/passwd", f"agent:x:{USER}:{USER}:agent:/:/sbin/nologin\n".encode()),
            ImageFile("etc/group", f"agent:x:{USER}:\n".encode()),
            ImageFile("etc/nsswitch.conf", b"hosts: files dns\n"),
        ),
        directories=(("tmp", 0o1777),),
        entrypoint=("/usr/bin/python3", "-m", "federation.agent"),
        environment=("PATH=/usr/bin", "PYTHONPATH=/opt/agent", "PYTHONDONTWRITEBYTECODE=1"),
    )


def _standard_library(unpacked: Path) -> Iterator[ImageFile]:
    root = unpacked / f"usr/lib/python{PYTHON}"
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and parts[0] not in _STDLIB_LEFT_OUT and path.suffix in _CODE:
            yield ImageFile(f"usr/lib/python{PYTHON}/{'/'.join(parts)}", path.read_bytes())


def _shared_libraries(unpacked: Path) -> Iterator[ImageFile]:
    """Under the names that programs link, whatever the file behind a link is called."""
    found: dict[str, bytes] = {}
    for folder in _LIBRARIES:
        for path in sorted((unpacked / folder).glob("lib*.so.*")):
            if _SONAME.fullmatch(path.name):
                found[path.name] = path.read_bytes()
    for name, content in sorted(found.items()):
        yield ImageFile(f"lib/x86_64-linux-gnu/{name}", content, 0o755)
    loader = next(path for folder in _LIBRARIES if (path := unpacked / folder / _LOADER).exists())
    yield ImageFile(f"lib64/{_LOADER}", loader.read_bytes(), 0o755)


def _packages(site_packages: Path) -> Iterator[ImageFile]:
    for pattern in (*MODULES, *OURS):
        matched = sorted(site_packages.glob(pattern))
        if not matched:
            raise FileNotFoundError(f"{site_packages} has no {pattern}, which the agent's image needs")
        for top in matched:
            for path in sorted(top.rglob("*")) if top.is_dir() else (top,):
                if path.is_file() and (path.suffix in _CODE or pattern in OURS):
                    yield ImageFile(f"opt/agent/{path.relative_to(site_packages)}", path.read_bytes())
