"""
What the operator's host knows of a federation: `$HANSE_HOME/federations/NAME`, for its owner alone.

`federation.json` is the description; it is written before anything else, so that whatever exists can be removed.
"""

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.single_process.identity import write_private
from federation.dns.providers.choose import EMBEDDED, ProviderOptions
from federation.dns.secondaries import read_secondary
from federation.errors import FederateError, WrongInputError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Description:
    """What `federate init` was asked for."""

    name: str
    dns_zone: str
    dns_provider: str = EMBEDDED
    dns_servers: tuple[str, ...] = ()
    """Of the provider rfc2136: the zone's name servers, its primary first."""
    dns_zone_id: str = ""
    """Of the provider route53: the hosted zone; empty: the one that is called as the zone is."""
    dns_private_zone: bool = False
    """Of the provider route53: of zones of that name, the private one."""
    data_dir: str = ""
    """Absolute; holds the store."""
    bind_address: str = "127.0.0.1"
    secure_port: int = 7443
    dns_port: int = 10053
    metrics_port: int = 0
    """Of the controllers, over HTTPS and for whom the federation lets; 0: none."""
    dns_secondaries: str = ""
    """With commas between them; see federation.dns.secondaries."""
    dns_transfer_key_file: str = ""
    """Absolute; empty: one in the federation's folder, made when there is a secondary."""
    provider: str = ""
    """Who makes the hosts that serve it, local or static. Empty: this host serves it, by background processes."""
    server: str = ""
    """URL of the API on such hosts, once they were laid down."""

    @property
    def on_hosts(self) -> bool:
        return bool(self.provider)


def check_name(name: str) -> None:
    """Raises WrongInputError."""
    if not _LABEL.fullmatch(name):
        raise WrongInputError(
            f"{name!r} is no name for a federation", why="it becomes part of DNS names",
            next_step="Use up to 63 lower-case letters, digits and hyphens.",
        )  # fmt: skip


def checked_zone(zone: str) -> str:
    """In lower case and without the last dot. Raises WrongInputError."""
    found = zone.lower().removesuffix(".")
    if len(found) > 200 or found.count(".") < 1 or not all(_LABEL.fullmatch(part) for part in found.split(".")):
        raise WrongInputError(
            f"{zone!r} is no DNS zone", why="a zone is labels with dots between them",
            next_step="Name one that is delegated to this federation, as in --dns-zone=fed.example.com.",
        )  # fmt: skip
    return found


def check_address(address: str) -> None:
    """Raises WrongInputError."""
    try:
        ipaddress.ip_address(address)
    except ValueError as fault:
        raise WrongInputError(
            f"{address!r} is no address", why=str(fault), next_step="Give one of this host's, as in 10.0.0.5."
        ) from fault


def federations_folder() -> Path:
    """Below $HANSE_HOME, else ~/.hanse."""
    given = os.environ.get("HANSE_HOME", "")
    return (Path(given).expanduser().absolute() if given else Path.home() / ".hanse") / "federations"


def names() -> list[str]:
    folder = federations_folder()
    return sorted(p.name for p in folder.iterdir() if (p / "federation.json").exists()) if folder.is_dir() else []


def checked_secondaries(texts: Iterable[str]) -> str:
    """Raises WrongInputError."""
    wanted = [text for text in texts if text]
    for text in wanted:
        try:
            read_secondary(text)
        except ValueError as fault:
            raise WrongInputError(
                "that is no DNS secondary", why=str(fault), next_step="Give the address of each, or '' for none."
            ) from fault
    return ",".join(wanted)


@dataclass(frozen=True, slots=True)
class Home:
    """One federation's folder."""

    name: str

    @property
    def path(self) -> Path:
        return federations_folder() / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    def transfer_key(self, description: Description) -> Path | None:
        """Where the key of zone transfers is; None: there is none."""
        if description.dns_transfer_key_file:
            return Path(description.dns_transfer_key_file)
        return self.path / "dns-transfer.key" if description.dns_secondaries else None

    @property
    def dns_key(self) -> Path:
        """Of the provider rfc2136: a copy of the TSIG key that was given."""
        return self.path / "dns.key"

    def provider(self, description: Description) -> ProviderOptions:
        key = self.dns_key if self.dns_key.exists() else None
        return ProviderOptions(
            description.dns_provider, description.dns_zone, description.dns_servers, key,
            description.dns_zone_id, description.dns_private_zone,
        )  # fmt: skip

    def read(self) -> Description | None:
        """None when there is no such federation. Raises FederateError for a description that was damaged."""
        file = self.path / "federation.json"
        try:
            fields = json.loads(file.read_text())
            return Description(**{**fields, "dns_servers": tuple(fields.get("dns_servers", ()))})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as fault:
            raise FederateError(
                f"cannot read {file}", why=str(fault), next_step="Restore it, or remove the folder and init again."
            ) from fault

    def require(self) -> Description:
        """Raises WrongInputError when there is none."""
        found = self.read()
        if found is None:
            raise WrongInputError(
                f"there is no federation {self.name}",
                why=f"federations in {federations_folder()}: {', '.join(names()) or 'none'}",
                next_step=f"Make it with `federate init {self.name} --dns-zone ZONE`, or set HANSE_HOME.",
            )
        return found

    def write(self, description: Description) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(description), indent=1) + "\n"
        write_private(self.path / "federation.json", text.encode())

    def forget(self, *, keep: Path | None = None) -> None:
        """
        Remove the folder; the description goes last, so that until then it can be destroyed again.

        Args:
            keep: a folder of somebody else's that may lie in here.

        Raises FederateError.
        """
        try:
            for part in [path for path in self.path.iterdir() if path.name != "federation.json" and path != keep]:
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
            if keep is not None:
                with contextlib.suppress(OSError):
                    keep.rmdir()  # unless somebody else keeps something there
            (self.path / "federation.json").unlink(missing_ok=True)
            self.path.rmdir()
        except OSError as fault:
            raise FederateError(
                f"cannot remove all of federation {self.name}", why=str(fault),
                next_step="Clear the way and run it again.",
            ) from fault  # fmt: skip

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One run at a time; it dies with its holder. Raises FederateError."""
        folder = federations_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / f".{self.name}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as fault:
                raise FederateError(
                    f"federation {self.name} is being changed by another run", why=f"it holds {file.name}",
                    next_step="Wait until it ends, then run again.",
                ) from fault  # fmt: skip
            yield


def chosen(name: str | None) -> Home:
    """The one that is named, or the only one. Raises WrongInputError."""
    if name:
        check_name(name)
        return Home(name)
    found = names()
    if len(found) != 1:
        raise WrongInputError(
            "which federation is meant is not clear" if found else "there is no federation",
            why=f"federations in {federations_folder()}: {', '.join(found) or 'none'}",
            next_step="Name one with --federation." if found else "Make one with `federate init NAME --dns-zone ZONE`.",
        )
    return Home(found[0])
