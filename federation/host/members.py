"""
Members as the command line asks for them: errors of the federation's own turned into what to do about them.
"""

import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cluster.api.resources import Resource
from cluster.client.kubeconfig import ClientConfig, KubeconfigError, load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.single_process.identity import write_private
from federation.dns.providers.choose import EMBEDDED
from federation.dns.secondaries import read_secondary
from federation.errors import FederateError, UnfitHostError, UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.membership import invite as inviting, join as joining, leave as leaving
from federation.membership.agent_manifest import agent_objects, arguments, manifest
from federation.membership.bootstrap_tokens import LIFETIME
from federation.membership.member_dns import MemberDnsError, Names, configure


async def join(home: Home, name: str, kubeconfig: Path, context: str | None) -> Object:
    """The Cluster as it was made. Raises FederateError."""
    home.require()
    config = _login(name, kubeconfig, context)
    async with client(home) as federation:
        try:
            return await joining.join(federation, name, config)
        except joining.JoinError as fault:
            raise FederateError(
                f"cluster {name} is no member", why=str(fault), next_step="Mend that, and join again; nothing is left."
            ) from fault


def names_of(home: Home, servers: Sequence[str]) -> Names | None:
    """
    What members shall resolve. None: the name servers are not known here, on hosts of their own.

    Args:
        servers: of the zone; empty: this host's, and its secondaries.

    Raises WrongInputError.
    """
    description = home.require()
    own = [f"{description.bind_address}:{description.dns_port}", *filter(None, description.dns_secondaries.split(","))]
    given = list(servers) or (list(description.dns_servers) if description.dns_provider != EMBEDDED else own)
    try:
        found = [read_secondary(text) for text in given]
        usable = [one for one in found if not ip_address(one.address).is_unspecified]
        if not usable or (description.on_hosts and not servers):
            return None
        return Names(home.name, description.dns_zone, tuple((one.address, one.port) for one in usable))
    except (ValueError, MemberDnsError) as fault:
        raise WrongInputError(
            "that is no name server for members", why=str(fault), next_step="Give --dns-server=ADDRESS[:PORT], IPv4."
        ) from fault


async def configure_dns(name: str, kubeconfig: Path, context: str | None, names: Names) -> str:
    """The ConfigMap that was changed. Raises FederateError; the cluster is a member whatever happens here."""
    async with ApiClient(_login(name, kubeconfig, context), user_agent=joining.USER_AGENT) as member:
        try:
            return await configure(member, names)
        except (ApiError, MemberDnsError) as fault:
            raise FederateError(
                f"cluster {name} is a member, but its DNS was not changed", why=str(fault),
                next_step="Mend that, and join again with --configure-dns.",
            ) from fault  # fmt: skip


def _login(name: str, kubeconfig: Path, context: str | None) -> ClientConfig:
    """Raises WrongInputError."""
    try:
        return load_kubeconfig(kubeconfig, context or "")
    except KubeconfigError as fault:
        raise WrongInputError(
            f"cluster {name} cannot join", why=str(fault), next_step="Give a kubeconfig that kubectl works with."
        ) from fault


@dataclass(frozen=True, slots=True)
class Invited:
    """How a cluster was invited; no secret is in it."""

    cluster: str
    manifest: Path
    token: Path
    arguments: list[str]
    """Of the agent, where it is started by hand."""
    applied: bool
    """Whether the manifest is in the member already."""
    on_loopback: bool = False
    """Whether the federation can be reached from its own host alone."""


async def invite(
    home: Home,
    name: str,
    kubeconfig: Path | None,
    context: str | None,
    image: str,
    *,
    lifetime: dt.timedelta = LIFETIME,
) -> Invited:
    """
    Pull mode: the invitation lies in private files below the federation's home.

    With a kubeconfig it is put into the member, too. Raises FederateError.
    """
    home.require()
    config = _login(name, kubeconfig, context) if kubeconfig is not None else None
    async with client(home) as federation:
        try:
            made = await inviting.invite(federation, name, member=config, lifetime=lifetime)
        except joining.JoinError as fault:
            raise FederateError(
                f"cluster {name} is not invited", why=str(fault), next_step="Mend that, and join again."
            ) from fault
    objects = agent_objects(made, image)
    folder = _invitation(home, name)
    invited = Invited(
        name, folder / "agent.yaml", folder / "token", arguments(made, str(folder / "token")), config is not None,
        made.server.startswith(("https://127.", "https://localhost", "https://[::1]")),
    )  # fmt: skip
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(invited.token, made.token.text.encode() + b"\n")
        write_private(invited.manifest, manifest(objects).encode())
    except OSError as fault:
        raise UnfitHostError(f"cannot write {folder}", why=str(fault), next_step="Check the path.") from fault
    if config is not None:
        await _apply(name, config, objects)
    return invited


async def _apply(name: str, config: ClientConfig, objects: Sequence[tuple[Resource, Object]]) -> None:
    """Raises FederateError."""
    async with ApiClient(config, user_agent=joining.USER_AGENT) as member:
        try:
            for resource, obj in objects:
                metadata = obj["metadata"]
                await member.patch(
                    resource, metadata["name"], obj, namespace=metadata.get("namespace", ""), patch_type="apply",
                    field_manager="federate", force=True,
                )  # fmt: skip
        except ApiError as fault:
            raise FederateError(
                f"cluster {name} is invited, and does not have its agent yet", why=str(fault),
                next_step="Mend that, and join again.",
            ) from fault  # fmt: skip


async def leave(home: Home, name: str, *, force: bool) -> list[str]:
    """What remains in the cluster, in words. Raises FederateError."""
    home.require()
    async with client(home) as federation:
        try:
            left = await leaving.leave(federation, name, force=force, called=home.name)
        except NotFound as fault:
            raise WrongInputError(
                f"cluster {name} cannot leave", why="there is no such member", next_step="`federate status` lists them."
            ) from fault
        except leaving.LeaveError as fault:
            raise UnreachableError(
                f"cluster {name} has not left", why=str(fault), next_step="Nothing was changed in the federation."
            ) from fault
        except ApiError as fault:
            raise UnreachableError(
                f"cluster {name} cannot leave", why=str(fault), next_step="`federate status` tells what runs."
            ) from fault
    shutil.rmtree(_invitation(home, name), ignore_errors=True)  # it is worth nothing any more
    return left


def _invitation(home: Home, name: str) -> Path:
    return home.path / "invitations" / name
