"""
The agent's certificate, and the Secret of its own cluster in which it outlives the agent.

The Secret is `federation-system/federation-agent`; who may read it there can be this member at the federation.
"""

import base64
import binascii
import datetime as dt
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, NotFound
from cluster.pki.authority import BACKDATE, PkiError
from cluster.pki.inspect import inspect_certificate
from federation.api.kinds import GROUP, SYSTEM_NAMESPACE
from federation.membership.tokens import MEMBER_LABEL

SECRET = "federation-agent"  # noqa: S105  (a name)
CLUSTER = f"{GROUP}/cluster"
RENEW_AT = 0.7
"""Of a certificate's life."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """PEM texts. Never printed."""

    authority: bytes
    """CAs of the federation's servers."""
    certificate: bytes
    key: bytes
    begins: dt.datetime
    ends: dt.datetime

    @property
    def renew_at(self) -> dt.datetime:
        return self.begins + (self.ends - self.begins) * RENEW_AT

    def config(self, server: str) -> ClientConfig:
        return ClientConfig(servers=(server,), ca_data=self.authority, cert_data=self.certificate, key_data=self.key)


def credentials_of(authority: bytes, certificate: bytes, key: bytes) -> Credentials:
    """Raises PkiError."""
    info = inspect_certificate(certificate)
    # A certificate begins a little before it was issued, for clocks that are behind.
    begins = min(info.not_before + BACKDATE, info.not_after)
    return Credentials(authority, certificate, key, begins, info.not_after)


async def load(member: ApiClient, cluster: str) -> Credentials | None:
    """Those kept in the member; None without any, or with those of another name. Raises ApiError."""
    try:
        secret = await member.get(resources.SECRETS, SECRET, namespace=SYSTEM_NAMESPACE)
    except NotFound:
        return None
    if (secret["metadata"].get("annotations") or {}).get(CLUSTER) != cluster:
        return None
    data = secret.get("data") or {}
    try:
        parts = [base64.b64decode(data.get(name) or "", validate=True) for name in ("ca.crt", "tls.crt", "tls.key")]
        return credentials_of(*parts)
    except (PkiError, binascii.Error):
        return None


async def keep(member: ApiClient, cluster: str, credentials: Credentials) -> None:
    """Into the member, in place of older ones. Raises ApiError."""
    data = {"ca.crt": credentials.authority, "tls.crt": credentials.certificate, "tls.key": credentials.key}
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": SECRET, "namespace": SYSTEM_NAMESPACE, "annotations": {CLUSTER: cluster}},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
    try:
        await member.create(resources.SECRETS, secret)
        return
    except NotFound:
        metadata = {"name": SYSTEM_NAMESPACE, "labels": {MEMBER_LABEL: "federation"}}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        await member.create(resources.NAMESPACES, namespace)
        await member.create(resources.SECRETS, secret)
    except AlreadyExists:
        change = {"metadata": {"annotations": {CLUSTER: cluster}}, "data": secret["data"]}
        await member.patch(resources.SECRETS, SECRET, change, namespace=SYSTEM_NAMESPACE)
