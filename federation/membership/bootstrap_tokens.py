"""
Bootstrap tokens for agents: good for one cluster and a day. Pure.

They are bootstrap tokens as kubeadm makes them, `abcdef.0123456789abcdef` in a Secret of kube-system, with two
annotations more: the name of the Cluster and its uid. Whoever has one may ask for that cluster's certificate.
"""

import base64
import binascii
import datetime as dt
import re
import secrets
import string
from dataclasses import dataclass

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time, parse_time
from federation.api.kinds import GROUP
from federation.membership.agents import BOOTSTRAP_USER, BOOTSTRAPPERS

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
LIFETIME = dt.timedelta(hours=24)
CLUSTER, CLUSTER_UID = f"{GROUP}/cluster", f"{GROUP}/cluster-uid"
ID = "token-id"
"""Key of the Secret's data: the part of a token that is no secret."""
USED = f"{GROUP}/used"
"""Annotation: when an agent last got a certificate for it."""
LABEL = f"{GROUP}/bootstrap"
"""On every Secret of such a token; its value is nothing."""
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True, repr=False)
class BootstrapToken:
    """Never printed but by who made it, once."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        return f"{self.id}.{self.secret}"


def make_token() -> BootstrapToken:
    def letters(count: int) -> str:
        return "".join(secrets.choice(_LETTERS) for _ in range(count))

    return BootstrapToken(letters(6), letters(16))


def read_token(text: str) -> BootstrapToken:
    """Raises ValueError, without the text in its words."""
    found = TOKEN.fullmatch(text.strip())
    if found is None:
        raise ValueError("this is no bootstrap token; it looks like abcdef.0123456789abcdef")
    return BootstrapToken(*found.groups())


def token_secret(
    token: BootstrapToken, cluster: str, uid: str, now: dt.datetime, lifetime: dt.timedelta = LIFETIME
) -> Object:
    data = {
        ID: token.id,
        "token-secret": token.secret,
        "expiration": format_time(now + lifetime),
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": BOOTSTRAPPERS,
        "description": f"lets the agent of cluster {cluster} ask for its certificate",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {
            "name": secret_name(token.id),
            "namespace": NAMESPACE,
            "labels": {LABEL: ""},
            "annotations": {CLUSTER: cluster, CLUSTER_UID: uid},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def secret_name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def secret_of_user(user: str) -> str:
    """Name of the Secret that a user's bootstrap token is in; empty for who did not come by one."""
    return secret_name(user.removeprefix(BOOTSTRAP_USER)) if user.startswith(BOOTSTRAP_USER) else ""


def granted(secret: Object) -> tuple[str, str]:
    """(name, uid) of the Cluster that it is for; empty texts for tokens that are not ours."""
    annotations = secret["metadata"].get("annotations") or {}
    return str(annotations.get(CLUSTER) or ""), str(annotations.get(CLUSTER_UID) or "")


def is_over(secret: Object, now: dt.datetime) -> bool:
    """Whether it has expired; an end that cannot be read is past."""
    try:
        text = base64.b64decode((secret.get("data") or {}).get("expiration") or "", validate=True).decode()
        return parse_time(text) <= now
    except (ValueError, binascii.Error):
        return True
