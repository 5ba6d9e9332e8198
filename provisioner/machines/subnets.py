"""
Which subnet a cluster of local machines gets: one that no route, no other cluster and no other run has.

A subnet is known to this machine by its route once its bridge exists. Between the choice and the bridge it is kept by
the run that chose it, and before the bridge is made again (this machine was restarted) by the cluster's record.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from provisioner.errors import ProvisionError
from provisioner.machines.programs import run_program

POOL = ipaddress.ip_network("10.89.0.0/16")
"""Subnets are taken from here, a /24 a cluster."""
CHOSEN = Path("/run/hanse-subnets.json")
"""Subnet -> process that chose it, and when that process began."""


def choose_subnet(avoid: Iterable[str], chosen: Path = CHOSEN) -> str:
    """
    The first /24 of the pool that overlaps neither a route of this machine, nor `avoid`, nor what other runs have
    chosen; kept for this process until it ends. Raises ProvisionError when there is none.
    """
    with _kept(chosen) as others:
        taken = [ipaddress.ip_network(text) for text in (*avoid, *_routed(), *others)]
        for subnet in POOL.subnets(new_prefix=24):
            if not any(subnet.version == other.version and subnet.overlaps(other) for other in taken):
                others[str(subnet)] = (os.getpid(), psutil.Process().create_time())
                return str(subnet)
    raise ProvisionError(
        "no subnet is left for local machines",
        why=f"every /24 of {POOL} overlaps a route of this machine or belongs to a cluster",
        next_step="Destroy a local cluster that is no longer needed (`provision destroy NAME`).",
    )


@contextlib.contextmanager
def _kept(path: Path) -> Iterator[dict[str, tuple[int, float]]]:
    """What living runs have chosen; what the block adds is written down. One run at a time."""
    if not os.access(path.parent, os.W_OK):
        yield {}  # whoever may not write there cannot make machines either, and only wants a plan
        return
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            told = json.loads(file.read() or "{}")
            known = {str(subnet): (int(pid), float(began)) for subnet, (pid, began) in told.items()}
        except (ValueError, TypeError, AttributeError):
            known = {}  # cut short by a crash; whoever it spoke of is gone
        alive = {subnet: process for subnet, process in known.items() if _lives(*process)}
        yield alive
        file.truncate(0)
        file.write(json.dumps(alive))


def _lives(pid: int, began: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - began) < 1
    except psutil.NoSuchProcess:
        return False


def _routed() -> list[str]:
    routes = json.loads(run_program(["ip", "-json", "-4", "route", "show", "table", "all"]).stdout or "[]")
    found = []
    for route in routes:
        destination = route.get("dst", "default")
        if destination != "default":
            found.append(str(ipaddress.ip_network(destination, strict=False)))
    return found
