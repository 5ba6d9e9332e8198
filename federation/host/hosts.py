"""
A federation on hosts of its own: the provisioner lays it down and takes it away, this remembers that it is there.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.single_process.identity import write_private
from federation.errors import WrongInputError
from federation.host.home import Description, Home
from federation.host.provisioning import Tell, provision


@dataclass(frozen=True, kw_only=True, slots=True)
class HostOptions:
    """What `federate init` was told about hosts; what is empty stays as it is."""

    provider: str = ""
    nodes: int | None = None
    """How many local machines."""
    hosts: str = ""
    """Addresses with commas between them."""
    inventory: Path | None = None
    accept_new_host_keys: bool = False
    ask_become_pass: bool = False

    @property
    def given(self) -> bool:
        return bool(self.provider or self.nodes is not None or self.hosts or self.inventory)

    @property
    def chosen_provider(self) -> str:
        return self.provider or ("static" if self.hosts or self.inventory else "local")

    def arguments(self) -> list[str]:
        """The provisioner's flags, which are called the same."""
        found = [f"--provider={self.chosen_provider}"] if self.given else []
        found += [f"--nodes={self.nodes}"] if self.nodes is not None else []
        found += [f"--hosts={self.hosts}"] if self.hosts else []
        found += [f"--inventory={self.inventory}"] if self.inventory else []
        found += ["--accept-new-host-keys"] if self.accept_new_host_keys else []
        return found + (["--ask-become-pass"] if self.ask_become_pass else [])


def init(home: Home, wanted: Description, options: HostOptions, tell: Tell) -> tuple[Description, int]:
    """
    Lay it down, or bring back what differs. Returns the description as it is now, and how much had to be changed.

    Raises WrongInputError, and leaves nothing when there was nothing; FederateError.
    """
    present = home.read()
    if present is not None and not present.on_hosts:
        raise WrongInputError(
            f"federation {home.name} runs on this host", why="it cannot move to others",
            next_step=f"Leave these options out, or `federate destroy {home.name}` first.",
        )  # fmt: skip
    if present is None:
        home.write(wanted)  # so that whatever is made from now on can be removed
    try:
        done = provision(["init", home.name, f"--dns-zone={wanted.dns_zone}", *options.arguments()], tell)
    except WrongInputError:
        if present is None:
            home.forget()
        raise
    described = dataclasses.replace(wanted, server=done["server"])
    write_private(home.kubeconfig, Path(done["kubeconfig"]).read_bytes())
    if described != present:
        home.write(described)
    return described, int(done["changes"])


def stop(home: Home, tell: Tell, more: Sequence[str] = ()) -> list[str]:
    """`host: service` for each that ran."""
    stopped: list[str] = provision(["stop", home.name, *more], tell)["stopped"]
    return stopped


def destroy(home: Home, tell: Tell, more: Sequence[str] = ()) -> None:
    """Take it off its hosts, then forget it."""
    try:
        provision(["destroy", home.name, *more], tell)
    except WrongInputError:
        tell("no host was ever laid down for it")
    home.forget()


def states(home: Home) -> list[dict[str, Any]]:
    """Each host: name, address, and what is wrong with it. Reads only."""
    return [
        {"name": host["name"], "address": host["address"], "faults": _faults(host)}
        for host in provision(["status", home.name], lambda _: None)["hosts"]
    ]


def _faults(host: dict[str, Any]) -> list[str]:
    if host["reachable"]:
        return [host["reachable"]]
    found = [f"{unit} does not run" for unit in host["idle_units"]]
    found += ["etcd is not healthy"] if host["etcd"] == "unhealthy" else []
    return found + ([f"apiserver: {host['apiserver']}"] if host["apiserver"] not in ("", "ready") else [])
