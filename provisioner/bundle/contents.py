"""
What goes into a bundle: package names and images, as data.

The Python packages are pinned in `requirements.lock` beside this file (`make lock` renews it).
"""

from provisioner.bundle.images import Image, ImageFile

HOST_PYTHON = (3, 11)
"""Minor version of /usr/bin/python3 on the hosts (Debian 12); compiled files fit this one alone."""

UNPACKED_PACKAGES: dict[str, tuple[str, ...]] = {
    "bookworm": (
        "conntrack",
        "containerd",
        "containernetworking-plugins",
        "iproute2",
        "libbpf1",
        "libbsd0",
        "libedit2",
        "libelf1",
        "libgmp10",
        "libjansson4",
        "libmd0",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnfnetlink0",
        "libnftables1",
        "libnftnl11",
        "libseccomp2",
        "libtirpc3",
        "libxtables12",
        "nftables",
        "runc",
    ),
    # Debian 12's etcd 3.4.23 lacks watch-correctness fixes; this one runs there as well (libc 2.34).
    "trixie": ("etcd-client", "etcd-server"),
}
"""Debian release -> packages whose files become part of the release tree; nothing is installed on a host."""

IMAGE_PACKAGES: dict[str, tuple[str, ...]] = {"bookworm": ("busybox-static", "catatonit")}
"""Static programs that the images are made of."""

BINARIES: dict[str, str] = {
    "usr/bin/etcd": "bin/etcd",
    "usr/bin/etcdctl": "bin/etcdctl",
    "usr/bin/etcdutl": "bin/etcdutl",
    "usr/bin/containerd": "bin/containerd",
    "usr/bin/containerd-shim-runc-v2": "bin/containerd-shim-runc-v2",
    "usr/bin/ctr": "bin/ctr",
    "usr/sbin/runc": "bin/runc",
    "usr/sbin/nft": "bin/nft",
    "usr/sbin/conntrack": "bin/conntrack",
    "bin/ip": "bin/ip",
    "sbin/bridge": "bin/bridge",
}
"""Path in an unpacked package -> path in the release. The list is exact: one that is missing fails the build."""

CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap", "ptp")

_WEB_PAGE = """#!/bin/sh
# What the demo answers: enough to see which pod and node served the request.
printf 'Content-Type: text/plain\\r\\n\\r\\n'
printf 'hello from %s\\n' "$(hostname)"
printf 'address %s\\n' "$(hostname -i | cut -d' ' -f1)"
printf 'client %s\\n' "$REMOTE_ADDR"
"""


def images(busybox: bytes, applets: tuple[str, ...], catatonit: bytes) -> tuple[Image, ...]:
    """The images every cluster has: the sandbox's pause, and a web demo with a shell and wget."""
    pause = Image(
        name="hanse.local/pause:1",
        files=(ImageFile("pause", catatonit, 0o755),),
        entrypoint=("/pause", "-P"),
    )
    shell = tuple(ImageFile(f"bin/{name}", link="busybox") for name in applets if name != "busybox")
    web = Image(
        name="hanse.local/web:1",
        files=(
            ImageFile("bin/busybox", busybox, 0o755),
            *shell,
            ImageFile("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            ImageFile("etc/group", b"root:x:0:\nnobody:x:65534:\n"),
            ImageFile("www/cgi-bin/index.cgi", _WEB_PAGE.encode(), 0o755),
        ),
        directories=(("root", 0o700), ("tmp", 0o1777), ("var/log", 0o755)),
        entrypoint=("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"),
        environment=("PATH=/bin",),
        ports=("80/tcp",),
    )
    return (pause, web)
