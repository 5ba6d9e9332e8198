"""
Write container images without a registry or a daemon: files in, an OCI image layout as one tar out.

Pure and reproducible: the same files give the same bytes. containerd takes the result with `ctr images import`.
Source: OCI image specification 1.1 (layout, manifest, config); containerd reads the image's name from the
annotation `io.containerd.image.name`.
"""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file of an image; with `link` it is a symlink and has no content."""

    path: str
    """Relative to the image's root."""
    content: bytes = b""
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a single layer. `name` is fully qualified, with its tag."""

    name: str
    files: tuple[ImageFile, ...]
    entrypoint: tuple[str, ...]
    directories: tuple[tuple[str, int], ...] = ()
    """Directories that need another mode than 0755, or would be empty."""
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    ports: tuple[str, ...] = ()


def image_archive(images: tuple[Image, ...]) -> bytes:
    """An OCI layout holding all of `images`, as an uncompressed tar."""
    blobs: dict[str, bytes] = {}
    manifests = [_add_image(image, blobs) for image in images]
    members = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": manifests}),
        **{f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()},
    }
    return _tar([ImageFile(path, content) for path, content in sorted(members.items())], ())


def _add_image(image: Image, blobs: dict[str, bytes]) -> dict[str, Any]:
    layer = _tar(sorted(image.files, key=lambda f: f.path), image.directories)
    packed = gzip.compress(layer, compresslevel=6, mtime=0)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": list(image.environment),
            **({"ExposedPorts": {port: {} for port in image.ports}} if image.ports else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(_json(config), "application/vnd.oci.image.config.v1+json", blobs),
        "layers": [_blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip", blobs)],
    }
    descriptor = _blob(_json(manifest), "application/vnd.oci.image.manifest.v1+json", blobs)
    tag = image.name.rpartition(":")[2]
    return {
        **descriptor,
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": tag},
    }


def _blob(content: bytes, media_type: str, blobs: dict[str, bytes]) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _tar(files: list[ImageFile], directories: tuple[tuple[str, int], ...]) -> bytes:
    modes = {parent: 0o755 for file in files for parent in _parents(file.path)}
    modes |= {parent: 0o755 for path, _ in directories for parent in _parents(path)}
    modes |= dict(directories)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, mode in sorted(modes.items()):
            tar.addfile(_member(path, tarfile.DIRTYPE, mode))
        for file in files:
            member = _member(file.path, tarfile.SYMTYPE if file.link else tarfile.REGTYPE, file.mode)
            member.linkname, member.size = file.link, 0 if file.link else len(file.content)
            tar.addfile(member, None if file.link else io.BytesIO(file.content))
    return buffer.getvalue()


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _member(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.mode = kind, mode
    return member
