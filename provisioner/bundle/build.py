"""
Build the bundle: one content-addressed archive with everything a host needs.

Layers, each cached by its own inputs, so that a change in our code does not fetch a package again: Debian packages
unpacked, Python packages, images, Python for the agent's image; our services come on top. A release on a host is this
tree.

Called by   provisioner.phases (once a run) and `make bundle`.
Not here    sending it (phases/push_bundle.py); what is in it (contents.py, requirements.lock).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cluster
from cluster import settings
from provisioner.bundle import agent_image, contents, debian, images, services

_RECIPE = "4"
"""Raise it when the way of building changes, so that cached layers are made anew."""

_SCRATCH = "building-"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built bundle. `digest` names the release on every host; it depends on the contents alone."""

    digest: str
    archive: Path
    """tar, compressed with zstd."""
    size: int
    """Bytes of the archive."""
    archive_sha256: str
    kubernetes: str = settings.KUBERNETES_VERSION
    """Version that it serves, as in 1.36.2."""


def ensure_bundle(cache_dir: Path, report: Report) -> Bundle:
    """
    The bundle for what is installed here, built if its inputs changed since the last time.

    Args:
        cache_dir: kept between runs; safe with several runs at once (one builds, the others wait).
        report: called with a sentence for each step that takes time.

    Raises: PackageFetchError, BundleBuildError. A failed or killed build leaves nothing that a later one trusts.
    """
    bundles = cache_dir / "bundles"
    bundles.mkdir(parents=True, exist_ok=True)
    inputs = _inputs_digest()
    with _lock(cache_dir / "lock"):
        index = bundles / f"{inputs}.json"
        if (known := _read_index(index, bundles)) is not None:
            return known
        remove_remains(cache_dir)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=_SCRATCH) as scratch:
            tree = Path(scratch) / "tree"
            tree.mkdir()
            _assemble(tree, cache_dir / "layers", report)
            return _pack(tree, index, bundles, report)


def built_bundle(cache_dir: Path) -> Bundle | None:
    """The same, if it was built before; builds nothing."""
    bundles = cache_dir / "bundles"
    return _read_index(bundles / f"{_inputs_digest()}.json", bundles)


def remove_remains(cache_dir: Path) -> None:
    """What killed builds left, hundreds of megabytes each. The caller holds the lock, so nobody builds there."""
    for scratch in cache_dir.glob(f"{_SCRATCH}*"):
        shutil.rmtree(scratch)


def _assemble(tree: Path, layers: Path, report: Report) -> None:
    packages = _layer(
        layers, "packages", [json.dumps(contents.UNPACKED_PACKAGES), json.dumps(contents.BINARIES)],
        lambda target, work: _build_packages(target, work), report, "Fetching Debian packages",
    )  # fmt: skip
    python = _layer(
        layers, "python", [services.LOCK_FILE.read_text()],
        lambda target, _: _build_python(target), report, "Fetching Python packages",
    )  # fmt: skip
    image_layer = _layer(
        layers, "images", [json.dumps(contents.IMAGE_PACKAGES), _file_digest(Path(contents.__file__))],
        _build_images, report, "Building images",
    )  # fmt: skip
    agents_python = _layer(
        layers, "agents-python", [json.dumps(agent_image.PACKAGES)],
        lambda target, work: _unpack(agent_image.PACKAGES, target, work), report, "Fetching the agent's Python",
    )  # fmt: skip
    for layer in (packages, python, image_layer):
        shutil.copytree(layer, tree, dirs_exist_ok=True, symlinks=True, copy_function=_link)
    report("Compiling the services")
    own = tree / "site-packages"
    for package in _own_packages():
        services.copy_services(package, own)
        services.compile_modules(own / package.name)
    services.write_launchers(tree / "bin")
    report("Building the agent's image")
    made = agent_image.agent_image(agents_python, own, services.version())
    (tree / "images" / "federation-agent.tar").write_bytes(images.image_archive((made,)))


def _own_packages() -> list[Path]:
    """Folders of the packages that hosts run. The federation is copied, never imported: it is another product."""
    services_home = Path(cluster.__file__).parent
    return [services_home, services_home.with_name("federation")]


def _build_packages(target: Path, work: Path) -> None:
    unpacked = work / "unpacked"
    versions = debian.unpack_packages(contents.UNPACKED_PACKAGES, work / "apt", unpacked)
    (target / "bin").mkdir()
    (target / "lib").mkdir()
    (target / "cni" / "bin").mkdir(parents=True)
    for source, destination in contents.BINARIES.items():
        shutil.copy2((unpacked / source).resolve(), target / destination)
    for plugin in contents.CNI_PLUGINS:
        shutil.copy2(unpacked / "usr/lib/cni" / plugin, target / "cni" / "bin" / plugin)
    for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
        for library in sorted((unpacked / folder).glob("lib*.so*")):
            shutil.copy2(library, target / "lib" / library.name, follow_symlinks=False)
    (target / "packages.json").write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")


def _build_python(target: Path) -> None:
    services.install_dependencies(target / "site-packages")
    services.compile_modules(target / "site-packages")


def _build_images(target: Path, work: Path) -> None:
    unpacked = work / "unpacked"
    debian.unpack_packages(contents.IMAGE_PACKAGES, work / "apt", unpacked)
    busybox = unpacked / "bin/busybox"
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True).stdout
    made = contents.images(unpacked, tuple(listed.split()))
    (target / "images").mkdir()
    (target / "images" / "base.tar").write_bytes(images.image_archive(made))


def _unpack(packages: Mapping[str, Sequence[str]], target: Path, work: Path) -> None:
    debian.unpack_packages(packages, work / "apt", target)


def _layer(
    layers: Path, name: str, inputs: list[str], build: Callable[[Path, Path], None], report: Report, title: str
) -> Path:
    """The folder of one layer, built into a temporary place and moved when it is whole."""
    key = hashlib.sha256("\0".join([_RECIPE, name, *inputs]).encode()).hexdigest()[:16]
    layer = layers / f"{name}-{key}"
    if layer.exists():
        return layer
    report(title)
    layers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layers, prefix=f".{name}-") as scratch:
        target, work = Path(scratch) / "target", Path(scratch) / "work"
        target.mkdir()
        work.mkdir()
        build(target, work)
        target.rename(layer)
    for older in layers.glob(f"{name}-*"):
        if older != layer:
            shutil.rmtree(older)
    return layer


def _pack(tree: Path, index: Path, bundles: Path, report: Report) -> Bundle:
    digest = _tree_digest(tree)
    facts = {"digest": digest, "version": services.version(), "kubernetes": settings.KUBERNETES_VERSION}
    (tree / "release.json").write_text(json.dumps(facts) + "\n")
    archive = bundles / f"{digest}.tar.zst"
    partial = bundles / f".{digest}.{os.getpid()}"
    report("Compressing the bundle")
    with partial.open("wb") as out:
        tar = subprocess.Popen(
            ["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner",
             "-C", str(tree), "-cf", "-", "."],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        packed = subprocess.run(["zstd", "-q", "-T0", "-6"], stdin=tar.stdout, stdout=out, check=False)
        if tar.wait() != 0 or packed.returncode != 0:
            partial.unlink()
            raise services.BundleBuildError(
                "cannot pack the bundle",
                why=f"tar ended with {tar.returncode}, zstd with {packed.returncode}",
                next_step=f"Check the free space below {bundles}, then run again.",
            )
    partial.rename(archive)
    bundle = Bundle(digest, archive, archive.stat().st_size, _file_digest(archive))
    for older in (*bundles.glob("*.tar.zst"), *bundles.glob("*.json")):
        if older not in (archive, index):
            older.unlink()
    temporary = index.with_suffix(".new")
    temporary.write_text(json.dumps({"digest": digest, "sha256": bundle.archive_sha256}))
    temporary.rename(index)
    return bundle


def _read_index(index: Path, bundles: Path) -> Bundle | None:
    if not index.exists():
        return None
    known = json.loads(index.read_text())
    archive = bundles / f"{known['digest']}.tar.zst"
    if not archive.exists():
        return None
    return Bundle(known["digest"], archive, archive.stat().st_size, known["sha256"])


def _inputs_digest() -> str:
    """Over everything a bundle is made of, cheaply: our sources, the lock file and the package lists."""
    digest = hashlib.sha256(_RECIPE.encode())
    for value in (contents.UNPACKED_PACKAGES, contents.IMAGE_PACKAGES, contents.BINARIES, contents.HOST_PYTHON):
        digest.update(json.dumps(value).encode())
    sources = [services.LOCK_FILE, *Path(__file__).parent.glob("*.py")]
    for package in _own_packages():
        sources += [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    for path in sorted(sources):
        digest.update(str(path.name).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _tree_digest(tree: Path) -> str:
    """Over path, mode and content of every file; file times do not count."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        relative = path.relative_to(tree)
        if path.is_symlink():
            digest.update(f"link {relative} {path.readlink()}\n".encode())
        elif path.is_file():
            digest.update(f"file {relative} {path.stat().st_mode:o} {_file_digest(path)}\n".encode())
    return digest.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(source: str, destination: str) -> None:
    """Hard links: a layer of 200 MB is not copied to be packed."""
    os.link(source, destination, follow_symlinks=False)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time; the kernel drops the lock when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
