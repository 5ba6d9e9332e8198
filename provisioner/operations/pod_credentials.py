"""
What the Pods of a host have been given to speak with the API: whom they trust, and which key signed their tokens.

Read from the volumes that the kubelet keeps for them. Tokens do not leave the host, only what names their key does.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from provisioner.errors import HostUnfitError
from provisioner.transports.base import Transport

_SCRIPT = r"""
import base64, glob, hashlib, json, os
found = []
for folder in glob.glob("/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*"):
    try:
        with open(os.path.join(folder, "token")) as file:
            head = file.read().split(".")[0]
        with open(os.path.join(folder, "ca.crt"), "rb") as file:
            ca = hashlib.sha256(file.read()).hexdigest()
        kid = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))).get("kid", "")
    except (OSError, ValueError):
        continue  # no volume of this kind, or a Pod that goes at this moment
    found.append({"pod": folder.split("/")[5], "ca": ca, "kid": kid})
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class PodCredentials:
    pod: str
    """Its UID."""
    authorities: str
    """SHA-256 of the bundle it trusts, hexadecimal."""
    key_id: str
    """`kid` of its token."""


async def read_pod_credentials(transport: Transport) -> list[PodCredentials]:
    """Of every Pod that has a volume of that kind, one that has ended included. Raises HostUnfitError."""
    result = await transport.run(["python3", "-I", "-"], stdin=_SCRIPT.encode())
    try:
        told = json.loads(result.stdout)
    except ValueError:
        raise HostUnfitError(
            "cannot read what Pods trust", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Check Python on the host (`python3 --version`), then run again.", host=transport.host,
        ) from None  # fmt: skip
    return [PodCredentials(one["pod"], one["ca"], one["kid"]) for one in told]


def behind(found: Collection[PodCredentials], running: Collection[str], authorities: str) -> list[str]:
    """UIDs of running Pods that do not trust exactly this bundle yet. Pure."""
    return sorted({one.pod for one in found if one.pod in running and one.authorities != authorities})


def signed_by(found: Collection[PodCredentials], running: Collection[str], key_ids: Collection[str]) -> list[str]:
    """UIDs of running Pods with a token that one of these keys signed. Pure."""
    return sorted({one.pod for one in found if one.pod in running and one.key_id in key_ids})
