"""
Ask the federation for a certificate: a CertificateSigningRequest, and the answer to it.

Whoever the client is asks: a bootstrap token, the agent with its present certificate, or one that comes back.
"""

import asyncio
import base64

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.pki.authority import make_private_key, private_key_pem
from cluster.pki.issue import CertificateContent, KeyPair
from cluster.pki.signing_request import make_signing_request
from federation.membership import agents

REQUESTS = resources.named("certificatesigningrequests.certificates.k8s.io")
ANSWER_SECONDS = 30.0
FIRST_LOOK, LAST_LOOK = 0.05, 1.0
"""Seconds between looks at the request; each is twice the one before."""


class DeniedError(Exception):
    """The federation does not take this cluster. The message is its answer."""


async def ask(client: ApiClient, cluster: str, identity: str, server: str, authority: bytes = b"") -> KeyPair:
    """
    A new key and the certificate for it.

    Args:
        identity: The uid of the member's kube-system.
        server: Where the member's API is, for others.
        authority: PEM of the CA by which that is known.

    Raises DeniedError, ApiError, TimeoutError.
    """
    key = make_private_key()
    wanted = CertificateContent(common_name=agents.user_of(cluster), organizations=(agents.GROUP,))
    csr: Object = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "generateName": f"federation-agent-{cluster[:200]}-",
            "annotations": {
                agents.IDENTITY: identity,
                agents.SERVER: server,
                agents.AUTHORITY: base64.b64encode(authority).decode(),
            },
        },
        "spec": {
            "request": base64.b64encode(make_signing_request(wanted, key)).decode(),
            "signerName": agents.SIGNER,
            "usages": sorted(agents.USAGES),
        },
    }
    made = await client.create(REQUESTS, csr)
    async with asyncio.timeout(ANSWER_SECONDS):
        return KeyPair(await _answer(client, made["metadata"]["name"]), private_key_pem(key))


async def _answer(client: ApiClient, name: str) -> bytes:
    wait = FIRST_LOOK
    while True:
        await asyncio.sleep(wait)
        status = (await client.get(REQUESTS, name)).get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") in ("Denied", "Failed"):
                raise DeniedError(str(condition.get("message") or condition["type"]))
        if status.get("certificate"):
            return base64.b64decode(status["certificate"])
        wait = min(2 * wait, LAST_LOOK)
