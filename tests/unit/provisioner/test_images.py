"""Images are written without a registry; the layout is what containerd imports."""

import gzip
import hashlib
import io
import json
import tarfile

from provisioner.bundle.images import Image, ImageFile, image_archive

PAUSE = Image("hanse.local/pause:1", (ImageFile("bin/pause", b"\x7fELF", 0o755),), ("/bin/pause",))


def read(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: member.read() for m in tar.getmembers() if (member := tar.extractfile(m)) is not None}


def test_same_files_give_the_same_bytes() -> None:
    assert image_archive((PAUSE,)) == image_archive((PAUSE,))


def test_every_blob_is_named_by_its_digest_and_every_reference_is_there() -> None:
    members = read(image_archive((PAUSE,)))

    blobs = {name.rpartition("/")[2]: content for name, content in members.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in blobs.items())
    (descriptor,) = json.loads(members["index.json"])["manifests"]
    manifest = json.loads(blobs[descriptor["digest"].removeprefix("sha256:")])
    for reference in (manifest["config"], *manifest["layers"]):
        assert len(blobs[reference["digest"].removeprefix("sha256:")]) == reference["size"]


def test_the_image_carries_its_full_name_for_containerd() -> None:
    (descriptor,) = json.loads(read(image_archive((PAUSE,)))["index.json"])["manifests"]

    assert descriptor["annotations"]["io.containerd.image.name"] == "hanse.local/pause:1"


def test_layer_holds_files_links_and_their_parent_directories() -> None:
    image = Image(
        "x.local/y:2",
        (ImageFile("bin/sh", link="busybox"), ImageFile("bin/busybox", b"program", 0o755)),
        ("/bin/sh",),
        directories=(("tmp", 0o1777),),
    )
    members = read(image_archive((image,)))
    layer = next(c for n, c in members.items() if n.startswith("blobs/") and c[:2] == b"\x1f\x8b")

    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
        found = {m.name: m for m in tar.getmembers()}
        assert found["bin"].isdir()
        assert (found["tmp"].mode, found["tmp"].isdir()) == (0o1777, True)
        assert (found["bin/sh"].issym(), found["bin/sh"].linkname) == (True, "busybox")
        assert found["bin/busybox"].mode == 0o755
