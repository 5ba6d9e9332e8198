"""
Container images made from files of this machine, without a registry: an OCI layout in one tar.

Used by integration tests that need a real runtime: a pause image (catatonit) and a shell image (busybox).
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
CATATONIT = Path("/usr/bin/catatonit")
_APPLET_TEXT = """
sh cat echo ls sleep id env hostname ps kill mount stat touch wget nc httpd sed grep head tail test true false
date mkdir rm tr wc sync dd tee timeout df seq trap printf readlink find stty nslookup
"""
APPLETS = _APPLET_TEXT.split()


def image_archive(
    name: str, files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] = (), command: Sequence[str] = (), user: str = "",
) -> bytes:  # fmt: skip
    """
    An OCI layout as tar bytes, one layer, for the machine's architecture amd64 (`ctr images import` reads it).

    Args:
        name: full reference, e.g. "hanse.local/busybox:1".
        files: path without leading slash -> content, all mode 0755.
        links: path -> symlink target.
    """
    layer = _layer(files, links or {})
    packed = gzip.compress(layer, mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(entrypoint),
                "Cmd": list(command),
                "Env": ["PATH=/bin:/usr/bin:/sbin"],
                "WorkingDir": "/",
                **({"User": user} if user else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "hanse"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
                "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
            }
        ],
    }
    blobs = {f"blobs/sha256/{_digest(b)[7:]}": b for b in (packed, config, manifest)}
    return _tar({"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index), **blobs}, {})


def busybox_image(name: str = "hanse.local/busybox:1") -> bytes:
    """A shell with the usual applets; runs as root and sleeps for ever by default."""
    return image_archive(
        name,
        {
            "bin/busybox": BUSYBOX.read_bytes(),
            "etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
            "etc/group": b"root:x:0:\n",
            "tmp/.keep": b"",
        },
        links={f"bin/{applet}": "busybox" for applet in APPLETS},
        command=["sleep", "1000000"],
    )


def pause_image(name: str = "hanse.local/pause:1") -> bytes:
    return image_archive(name, {"catatonit": CATATONIT.read_bytes()}, entrypoint=["/catatonit", "-P"])


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    return _tar(files, links)


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
