"""
Find the federation's CA by its pin, before there is a login. Source of the way: kubeadm's token discovery.

The first connection trusts nobody and sends nothing that is secret; what it brings is believed for its pin alone.
"""

from collections.abc import Collection
from pathlib import Path

import orjson

from cluster.client.kubeconfig import ClientConfig, KubeconfigError, parse_kubeconfig
from cluster.client.rest import ApiClient
from cluster.pki.authority import PkiError
from cluster.pki.pinning import pinned
from federation.membership.invite import INFO_PATH


class DiscoveryError(Exception):
    """The federation cannot be told from an impostor. The message says why and what to do."""


async def discover(server: str, pins: Collection[str], user_agent: str) -> bytes:
    """PEM of the pinned CAs. Raises DiscoveryError; ApiError when nobody answers."""
    async with ApiClient(ClientConfig(servers=(server,), insecure=True), user_agent=user_agent) as client:
        return pinned_authority(await client.request("GET", INFO_PATH), pins)


async def confirmed(client: ApiClient, pins: Collection[str]) -> bytes:
    """The CAs as a federation that is already trusted names them: how a new CA gets around. Raises as `discover`."""
    bundle = _authority(await client.request("GET", INFO_PATH))
    if pins:
        pinned_authority_of(bundle, pins)
    return bundle


def pinned_authority(info: bytes, pins: Collection[str]) -> bytes:
    """From the ConfigMap cluster-info. Pure. Raises DiscoveryError."""
    return pinned_authority_of(_authority(info), pins)


def pinned_authority_of(bundle: bytes, pins: Collection[str]) -> bytes:
    try:
        return pinned(bundle, pins)
    except PkiError as fault:
        raise DiscoveryError(
            f"{fault}. Check --federation-server, and take the pin from a new `federate join … --pull`."
        ) from fault


def _authority(info: bytes) -> bytes:
    try:
        text = orjson.loads(info)["data"]["kubeconfig"].encode()
        # There are no users and contexts in it; one is made up to read the only cluster.
        config = {**orjson.loads(text), "current-context": "", "contexts": [{"name": "-", "context": {"cluster": ""}}]}
        found = parse_kubeconfig(orjson.dumps(config), source=INFO_PATH, base=Path("/nonexistent"), context="-")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, KubeconfigError) as fault:
        raise DiscoveryError(f"what {INFO_PATH} says cannot be read: {fault!r}. Invite the cluster again.") from fault
    return found.ca_data
