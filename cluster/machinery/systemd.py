"""
Tell systemd how a service is: READY=1 once it serves, STOPPING=1 when it goes.

Every service calls `notify_ready` once. Without NOTIFY_SOCKET (started by hand) it does nothing.
"""

import os
import socket


def notify(state: str) -> bool:
    """Send one state, e.g. "READY=1" or "STATUS=…". Returns whether systemd listens at all."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), address)
    return True


def notify_ready() -> bool:
    return notify("READY=1")


def notify_stopping() -> bool:
    return notify("STOPPING=1")
