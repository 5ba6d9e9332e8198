"""
The network of local machines: a bridge with a subnet of its own, and a way out through the operator's machine.

Owned things: one bridge, one nftables table, the switch that lets this machine forward packets.
"""

import ipaddress
import json
from pathlib import Path

from provisioner.journal import Journal
from provisioner.machines.programs import run_program

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE_PREFIX = "hanse-"


class LocalNetwork:
    """Bridge and table of one cluster."""

    def __init__(self, bridge: str, table: str, subnet: str) -> None:
        self.bridge = bridge
        self._table = table
        self._subnet = ipaddress.ip_network(subnet)

    @property
    def gateway(self) -> str:
        return str(self._subnet[1])

    def exists(self) -> bool:
        return Path("/sys/class/net", self.bridge).exists()

    def ensure(self, journal: Journal) -> None:
        """Make or complete it."""
        journal.will_make("bridge", self.bridge)
        if not self.exists():
            run_program(["ip", "link", "add", "name", self.bridge, "type", "bridge", "forward_delay", "0"])
        run_program(["ip", "addr", "replace", f"{self.gateway}/{self._subnet.prefixlen}", "dev", self.bridge])
        run_program(["ip", "link", "set", self.bridge, "up"])
        if _FORWARDING.read_text().strip() != "1":
            journal.will_make("sysctl", str(_FORWARDING), before=_FORWARDING.read_text().strip())
            _FORWARDING.write_text("1")
        journal.will_make("nft_table", self._table)
        # Making the table before deleting it lets one transaction replace it, whether it was there or not.
        run_program(["nft", "-f", "-"], stdin=self._ruleset())

    def _ruleset(self) -> str:
        return f"""
            add table ip {self._table}
            delete table ip {self._table}
            table ip {self._table} {{
                chain out {{
                    type nat hook postrouting priority srcnat;
                    ip saddr {self._subnet} oifname != "{self.bridge}" masquerade
                }}
            }}
        """


def remove_link(name: str) -> None:
    if Path("/sys/class/net", name).exists():
        run_program(["ip", "link", "delete", name])


def remove_table(name: str) -> None:
    tables = json.loads(run_program(["nft", "-j", "list", "tables", "ip"]).stdout)
    if any(entry.get("table", {}).get("name") == name for entry in tables["nftables"]):
        run_program(["nft", "delete", "table", "ip", name])


def restore_sysctl(path: str, before: str) -> None:
    """Back to the earlier value, unless a bridge remains: whoever made it may count on forwarding by now."""
    if not any((link / "bridge").exists() for link in Path("/sys/class/net").iterdir()):
        Path(path).write_text(before)
