"""
Where the server listens: the cluster DNS address on an interface of this host that leads nowhere,
so that every node answers its own pods.
"""

import subprocess

from cluster.dns.access import is_own_address


class InterfaceError(Exception):
    """The interface could not be made. Remedy: give the process CAP_NET_ADMIN, or make the interface beforehand."""


# Not every kernel has dummy interfaces, nor can a container load the module; a bridge without ports serves as well.
KINDS = ("dummy", "bridge")


def ensure_address(interface: str, address: str) -> bool:
    """
    Give this host `address`/32 on an interface of its own, unless it has it already. Tells whether anything was done.

    Raises:
        InterfaceError: with what `ip` said.
    """
    if is_own_address(address):
        return False
    complaints = []
    for kind in KINDS:
        complaint = _ip("link", "add", interface, "type", kind)
        if not complaint:
            break
        complaints.append(complaint)
    complaint = complaints[-1] if len(complaints) == len(KINDS) and "exists" not in complaints[-1] else ""
    complaint = complaint or _ip("address", "replace", f"{address}/32", "dev", interface)
    complaint = complaint or _ip("link", "set", interface, "up")
    if complaint:
        raise InterfaceError(
            f"cannot listen on {address}: {complaint}. Run as root, or create {interface} with {address}/32 first."
        )
    return True


def _ip(*arguments: str) -> str:
    """Empty when it worked, else what was tried and what `ip` said."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return f"`ip {' '.join(arguments)}` said {done.stderr.strip()!r}" if done.returncode else ""
