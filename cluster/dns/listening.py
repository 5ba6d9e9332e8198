"""
Where the server listens: the cluster DNS address on a dummy interface of this host,
so that every node answers its own pods.
"""

import subprocess

from cluster.dns.access import is_own_address


class InterfaceError(Exception):
    """The interface could not be made. Remedy: give the process CAP_NET_ADMIN, or make the interface beforehand."""


def ensure_address(interface: str, address: str) -> bool:
    """
    Give this host `address`/32 on a dummy interface, unless it has it already. Tells whether anything was done.

    Raises:
        InterfaceError: with what `ip` said.
    """
    if is_own_address(address):
        return False
    commands = [
        ["ip", "link", "add", interface, "type", "dummy"],
        ["ip", "address", "replace", f"{address}/32", "dev", interface],
        ["ip", "link", "set", interface, "up"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and not ("add" in command and "exists" in done.stderr):
            raise InterfaceError(
                f"cannot listen on {address}: `{' '.join(command)}` said {done.stderr.strip()!r}. "
                f"Run as root, or create {interface} with {address}/32 first."
            )
    return True
