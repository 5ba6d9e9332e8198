"""
The CNI configuration that the container runtime reads for every pod of this node.

Pods hang on point-to-point links (plugin `ptp`) rather than on a bridge: every packet between two pods of a node
is routed, so that address translation sees the answers too, whether or not the host can filter bridged packets.
"""

import os
from pathlib import Path

import orjson

from cluster.machinery.objects import Object

FILE_NAME = "10-hanse.conflist"


def configuration(pod_cidr: str, mtu: int) -> Object:
    """The list of plugins for one node. `mtu` in bytes."""
    return {
        "cniVersion": "1.0.0",
        "name": "hanse",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/hanse/cni",
                    "ranges": [[{"subnet": pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def write_configuration(directory: Path, content: Object) -> bool:
    """Put the file in place in one step; tells whether it differed."""
    path = directory / FILE_NAME
    wanted = orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"
    try:
        if path.read_bytes() == wanted:
            return False
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True)
    # The runtime reads *.conf, *.conflist and *.json only: it never sees the half-written one.
    draft = directory / f".{FILE_NAME}.new"
    with draft.open("wb") as file:
        file.write(wanted)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return True


def missing_plugins(directory: Path) -> list[str]:
    """Plugins the configuration names that are not installed."""
    return [name for name in ("ptp", "host-local", "loopback") if not (directory / name).exists()]
