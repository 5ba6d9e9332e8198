"""
What goes into a bundle: package names and images, as data.

The Python packages are pinned in `requirements.lock` beside this file (`make lock` renews it).
"""

import re
from pathlib import Path

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

IMAGE_PACKAGES: dict[str, tuple[str, ...]] = {
    "bookworm": (
        "busybox",
        "catatonit",
        "libc6",
        # curl and what it links
        "curl",
        "libbrotli1",
        "libcom-err2",
        "libcurl4",
        "libffi8",
        "libgmp10",
        "libgnutls30",
        "libgssapi-krb5-2",
        "libhogweed6",
        "libidn2-0",
        "libk5crypto3",
        "libkeyutils1",
        "libkrb5-3",
        "libkrb5support0",
        "libldap-2.5-0",
        "libnettle8",
        "libnghttp2-14",
        "libp11-kit0",
        "libpsl5",
        "librtmp1",
        "libsasl2-2",
        "libssh2-1",
        "libssl3",
        "libtasn1-6",
        "libunistring2",
        "libzstd1",
        "zlib1g",
    )
}
"""What the images are made of. Not busybox-static: a static glibc cannot look names up without the dynamic one."""

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


def images(unpacked: Path, applets: tuple[str, ...]) -> tuple[Image, ...]:
    """
    The images every cluster has: the sandbox's pause, and a web demo with a shell and curl.

    Args:
        unpacked: folder that holds the files of IMAGE_PACKAGES.
        applets: what busybox can be called as.
    """
    pause = Image(
        name="hanse.local/pause:1",
        files=(ImageFile("pause", (unpacked / "usr/bin/catatonit").read_bytes(), 0o755),),
        entrypoint=("/pause", "-P"),
    )
    web = Image(
        name="hanse.local/web:1",
        files=(
            ImageFile("bin/busybox", (unpacked / "bin/busybox").read_bytes(), 0o755),
            *(ImageFile(f"bin/{name}", link="busybox") for name in applets if name != "busybox"),
            # As process 1 it passes signals on; httpd itself would not end at SIGTERM there.
            ImageFile("bin/catatonit", (unpacked / "usr/bin/catatonit").read_bytes(), 0o755),
            ImageFile("bin/curl", (unpacked / "usr/bin/curl").read_bytes(), 0o755),
            *(ImageFile(f"lib/{name}", content, 0o755) for name, content in _libraries(unpacked).items()),
            ImageFile("lib64/ld-linux-x86-64.so.2", (unpacked / _LOADER).read_bytes(), 0o755),
            ImageFile("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            ImageFile("etc/group", b"root:x:0:\nnobody:x:65534:\n"),
            ImageFile("etc/nsswitch.conf", b"hosts: files dns\n"),
            ImageFile("www/cgi-bin/index.cgi", _WEB_PAGE.encode(), 0o755),
        ),
        directories=(("root", 0o700), ("tmp", 0o1777), ("var/log", 0o755)),
        entrypoint=("/bin/catatonit", "--", "/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"),
        environment=("PATH=/bin",),
        ports=("80/tcp",),
    )
    return (pause, web)


_LOADER = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_SONAME = re.compile(r"lib[\w+.-]+?\.so\.\d+")
# Parts of glibc that nothing in the images links.
_UNUSED = re.compile(
    r"lib(BrokenLocale|anl|c_malloc_debug|dl|memusage|mvec|nsl|nss_\w+|pcprofile|pthread|rt|thread_db|util)\.so"
)


def _libraries(unpacked: Path) -> dict[str, bytes]:
    """soname -> content of every shared library of the packages, under the names that programs link."""
    return {
        path.name: path.read_bytes()
        for folder in _LIBRARY_FOLDERS
        for path in sorted((unpacked / folder).glob("lib*.so.*"))
        if _SONAME.fullmatch(path.name) and not _UNUSED.match(path.name)
    }
