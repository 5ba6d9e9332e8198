"""
Clients of member clusters, made from their Cluster objects and the Secrets these name; kept until one of both changes.

A Secret in `federation-system` holds a `kubeconfig`, or a `token` for the address and CA that the Cluster names.
Used by   the apiserver's views, and every controller that talks to members.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.client.kubeconfig import ClientConfig, KubeconfigError, parse_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.dialled import Dial
from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS
from federation.membership.agents import AGENTS_GO_TO, is_pull

KUBECONFIG, TOKEN, CA = "kubeconfig", "token", "ca.crt"
"""Keys of the Secret."""


class MemberFault(Exception):
    """The member cannot be reached as it is described. The message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """One that can be asked."""

    name: str
    config: ClientConfig
    client: ApiClient
    dial: Dial | None = None
    """Makes connections to it, where its config has no address for that."""


def secret_name(cluster: Object) -> str:
    """Of the Secret with the member's credentials; empty when the Cluster names none."""
    return str((cluster["spec"].get("secretRef") or {}).get("name") or "")


def member_config(cluster: Object, secret: Object | None) -> ClientConfig:
    """
    How to reach a member and as whom. Pure.

    Raises MemberFault. A kubeconfig that names files is refused: whoever may write Secrets of the federation would
    otherwise read files of its hosts.
    """
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    if is_pull(cluster):
        raise MemberFault(f"cluster {name} is in pull mode: its agent comes to us, and we do not go to it")
    wanted = secret_name(cluster)
    if not wanted:
        raise MemberFault(f"cluster {name} has no spec.secretRef: join it again to give us credentials")
    if secret is None:
        raise MemberFault(f"Secret federation-system/{wanted} of cluster {name} is not there: join the cluster again")
    data = secret.get("data") or {}
    if KUBECONFIG in data:
        return _from_kubeconfig(name, _decoded(name, data, KUBECONFIG))
    if TOKEN not in data:
        raise MemberFault(f"Secret federation-system/{wanted} of cluster {name} has neither `kubeconfig` nor `token`")
    authorities = _decoded(name, data, CA) if CA in data else _decoded(name, spec, "caBundle")
    token = _decoded(name, data, TOKEN).decode("ascii", "replace").strip()
    return ClientConfig(servers=_servers(spec), ca_data=authorities, token=token)


def _from_kubeconfig(name: str, text: bytes) -> ClientConfig:
    try:
        config = parse_kubeconfig(text, source=f"kubeconfig of cluster {name}", base=Path("/nonexistent"))
    except KubeconfigError as fault:
        raise MemberFault(str(fault)) from fault
    if config.ca_file or config.cert_file or config.key_file or config.token_file:
        raise MemberFault(
            f"the kubeconfig of cluster {name} names files, which are not read: put their content into it "
            "(certificate-authority-data, client-certificate-data, client-key-data, token)"
        )
    return config


def _servers(spec: Mapping[str, Any]) -> tuple[str, ...]:
    found = [str(one["serverAddress"]) for one in spec["serverAddressByClientCIDRs"]]
    return tuple(one if "://" in one else f"https://{one}" for one in found)


def _decoded(name: str, data: Mapping[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(data.get(key) or "", validate=True)
    except (binascii.Error, ValueError) as fault:
        raise MemberFault(f"{key} of cluster {name} is no base64: {fault}") from fault


def way_to_pull(cluster: Object, federation: ClientConfig) -> ClientConfig:
    """
    How to reach a member in pull mode: over the tunnel that its agent holds, by the federation's API. Pure.

    Its agent is connected to the server that it was invited to, which can be another one than ours.
    """
    metadata = cluster["metadata"]
    there = (metadata.get("annotations") or {}).get(AGENTS_GO_TO)
    servers = (str(there),) if there else federation.servers
    path = CLUSTERS.path("", metadata["name"], "proxy")
    return replace(federation, servers=tuple(server.rstrip("/") + path for server in servers))


class MemberClients:
    """
    Keeps one `ApiClient` a member. Owned by one event loop.

    Args:
        federation: A login at the federation that may use `clusters/proxy`; without it, members in pull mode are out of
            reach.
    """

    def __init__(self, user_agent: str, federation: ClientConfig | None = None) -> None:
        self._user_agent = user_agent
        self._federation = federation
        self._known: dict[str, Member] = {}
        self._seen: dict[str, tuple[str, ...]] = {}
        """uid and generation of the Cluster, and version of the Secret, that a client was made from."""
        self._retired: list[ApiClient] = []

    def member(self, cluster: Object, secret: Object | None) -> Member:
        """The member's client, a new one when what it was made from has changed. Raises MemberFault."""
        metadata = cluster["metadata"]
        name = metadata["name"]
        version = secret["metadata"].get("resourceVersion", "") if secret is not None else ""
        there = (metadata.get("annotations") or {}).get(AGENTS_GO_TO, "")
        seen = (metadata.get("uid", ""), str(metadata.get("generation", "")), version, there)
        known = self._known.get(name)
        if known is not None and self._seen.get(name) == seen:
            return known
        try:
            if self._federation is not None and is_pull(cluster):
                config = way_to_pull(cluster, self._federation)
            else:
                config = member_config(cluster, secret)
        except MemberFault:
            self._retire(name)
            raise
        if known is None or known.config != config:
            self._retire(name)
            known = self._known[name] = Member(name, config, ApiClient(config, user_agent=self._user_agent))
        self._seen[name] = seen
        return known

    def _retire(self, name: str) -> None:
        self._seen.pop(name, None)
        known = self._known.pop(name, None)
        if known is not None:
            self._retired.append(known.client)

    async def tidy(self, names: Collection[str]) -> None:
        """Close clients that were replaced, and those of members that are none of these."""
        for name in [one for one in self._known if one not in names]:
            self._retire(name)
        while self._retired:
            await self._retired.pop().close()

    async def close(self) -> None:
        await self.tidy(())
