"""
Reads and changes this host's links, routes and neighbours through iproute2.

`ip -batch` puts a route in 16 us, a netlink library in 250; and it is on every host.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.kube_proxy.pod_network.plan import (
    DEVICE,
    OVERHEAD,
    PORT,
    ROUTE_PROTOCOL,
    VNI,
    Changes,
    Mode,
    Observed,
    device_address,
    device_mac,
)

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


class PodNetworkError(Exception):
    """This host cannot carry the pod network. The text says what to change."""


def _run(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PodNetworkError(
            f"`{' '.join(command)}` failed with {text.strip()[:300]!r}: {done.stderr.strip()[:500]}. "
            "The process needs CAP_NET_ADMIN and iproute2."
        )
    return done.stdout


def _json(command: Sequence[str]) -> list[dict[str, Any]]:
    out = _run(command)
    return [row for row in json.loads(out) if row] if out.strip() else []


def check_forwarding() -> None:
    """Turn forwarding on, or say who has to. Raises PodNetworkError."""
    if IP_FORWARD.read_text().strip() == "1":
        return
    try:
        IP_FORWARD.write_text("1\n")
    except OSError as error:
        raise PodNetworkError(
            f"{IP_FORWARD} is 0 and cannot be set here: {error}. Pods would reach nothing outside their node. "
            "Set net.ipv4.ip_forward=1 on the host."
        ) from error


def parent_of(address: str) -> tuple[str, int]:
    """(name, MTU in bytes) of the interface that has the node's address. Raises PodNetworkError."""
    for link in _json(["ip", "-j", "-4", "address", "show"]):
        if any(held.get("local") == address for held in link.get("addr_info", ())):
            return str(link["ifname"]), int(link["mtu"])
    raise PodNetworkError(f"no interface has the node's address {address}. Correct --node-ip.")


def ensure_device(address: str, cidr: str) -> int:
    """
    Make the VXLAN device as it should be; returns its MTU. One that differs in what cannot be changed is made anew.

    Raises:
        PodNetworkError
    """
    parent, parent_mtu = parent_of(address)
    mtu, mac, own = parent_mtu - OVERHEAD, device_mac(address), device_address(cidr)
    link = _device()
    data = ((link or {}).get("linkinfo") or {}).get("info_data") or {}
    fits = (
        link is not None
        and (data.get("id"), data.get("local"), data.get("port"), data.get("link")) == (VNI, address, PORT, parent)
        and link.get("address") == mac
    )
    if not fits:
        if link is not None:
            _run(["ip", "link", "del", DEVICE])
        vxlan = ["type", "vxlan", "id", str(VNI), "local", address, "dev", parent, "dstport", str(PORT), "nolearning"]
        _run(["ip", "link", "add", DEVICE, "address", mac, "mtu", str(mtu), *vxlan])
    elif link is not None and link.get("mtu") != mtu:
        _run(["ip", "link", "set", DEVICE, "mtu", str(mtu)])
    held = [
        f"{a['local']}/{a['prefixlen']}"
        for row in _json(["ip", "-j", "-4", "address", "show", "dev", DEVICE])
        for a in row.get("addr_info", ())
    ]
    for old in held:
        if old != f"{own}/32":
            _run(["ip", "address", "del", old, "dev", DEVICE])
    if f"{own}/32" not in held:
        _run(["ip", "address", "add", f"{own}/32", "dev", DEVICE])
    if link is None or not fits or "UP" not in link.get("flags", ()):
        _run(["ip", "link", "set", DEVICE, "up"])
    return mtu


def _device() -> dict[str, Any] | None:
    links = _json(["ip", "-j", "-d", "link", "show", "type", "vxlan"])
    return next((link for link in links if link.get("ifname") == DEVICE), None)


def remove_device() -> None:
    """Take the VXLAN device away if there is one; its routes and entries go with it."""
    if _device() is not None:
        _run(["ip", "link", "del", DEVICE])


def remove_all() -> None:
    """Everything of ours, whatever the mode was."""
    remove_device()
    _run(["ip", "-4", "route", "flush", "proto", str(ROUTE_PROTOCOL)])


def observe(mode: Mode) -> Observed:
    """What of ours is on this host."""
    rows = _json(["ip", "-j", "-4", "route", "show", "proto", str(ROUTE_PROTOCOL)])
    routes = {str(row["dst"]): str(row.get("gateway", "")) for row in rows}
    if mode is not Mode.VXLAN:
        return Observed(routes, {}, {})
    neighbours = {
        str(row["dst"]): str(row.get("lladdr", ""))
        for row in _json(["ip", "-j", "-4", "neighbour", "show", "dev", DEVICE, "nud", "permanent"])
    }
    forwarding = {
        str(row["mac"]): str(row["dst"])
        for row in _json(["bridge", "-j", "fdb", "show", "dev", DEVICE])
        if "dst" in row and row["mac"] != "00:00:00:00:00:00"
    }
    return Observed(routes, neighbours, forwarding)


def apply(changes: Changes) -> None:
    """Raises PodNetworkError for the first line that fails; what follows it is planned again next time."""
    if changes.bridge:
        _run(["bridge", "-batch", "-"], "\n".join(changes.bridge) + "\n")
    if changes.ip:
        _run(["ip", "-batch", "-"], "\n".join(changes.ip) + "\n")
