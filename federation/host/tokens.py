"""Bootstrap tokens of agents, for `federate token`: which there are, for whom, until when, used or not; never which."""

import base64
import binascii
import datetime as dt
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.resources import CLUSTERS
from federation.errors import UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.membership.agents import is_pull
from federation.membership.bootstrap_tokens import ID, LABEL, NAMESPACE, USED, granted, is_over, secret_name


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of one."""

    id: str
    cluster: str
    expires: str
    """RFC 3339; empty when its end cannot be read, and then it is over."""
    used: str
    """When an agent last got a certificate for it; empty: never."""
    state: str
    """`valid`, `expired`, or `orphaned`: its Cluster has left, and it lets nobody in."""


async def tokens(home: Home) -> list[Token]:
    """By cluster, the soonest end first. Raises FederateError."""
    home.require()
    now = dt.datetime.now(dt.UTC)
    async with client(home) as federation:
        try:
            found = await federation.list(resources.SECRETS, namespace=NAMESPACE, label_selector=LABEL)
            clusters = (await federation.list(CLUSTERS)).get("items") or ()
        except ApiError as fault:
            raise _unreachable(home, fault) from fault
    present = {(one["metadata"]["name"], one["metadata"]["uid"]) for one in clusters}
    shown = [_shown(secret, present, now) for secret in found.get("items") or ()]
    return sorted(shown, key=lambda one: (one.cluster, one.expires, one.id))


async def revoke(home: Home, which: str) -> list[str]:
    """
    By a token's id, or all of a cluster by its name; what was revoked. Agents keep the certificates that they have.

    Raises FederateError.
    """
    known = await tokens(home)
    chosen = [one.id for one in known if which in (one.id, one.cluster)]
    if not chosen:
        raise WrongInputError(
            f"there is no token {which}", why="neither an id nor a cluster with tokens is called so",
            next_step="`federate token list` shows them.",
        )  # fmt: skip
    async with client(home) as federation:
        for token_id in chosen:
            await _delete(home, federation, token_id)
    return chosen


async def require_pull(home: Home, cluster: str) -> None:
    """Raises FederateError unless it is a member in pull mode: others have no use for a token."""
    async with client(home) as federation:
        try:
            found: Object | None = await federation.get(CLUSTERS, cluster)
        except NotFound:
            found = None
        except ApiError as fault:
            raise _unreachable(home, fault) from fault
    if found is None or not is_pull(found):
        raise WrongInputError(
            f"cluster {cluster} can have no token", why="it is no member in pull mode",
            next_step=f"`federate join {cluster} --pull` invites it.",
        )  # fmt: skip


async def _delete(home: Home, federation: ApiClient, token_id: str) -> None:
    try:
        await federation.delete(resources.SECRETS, secret_name(token_id), namespace=NAMESPACE)
    except NotFound:
        return  # it ended just now
    except ApiError as fault:
        raise _unreachable(home, fault) from fault


def _shown(secret: Object, present: set[tuple[str, str]], now: dt.datetime) -> Token:
    annotations = secret["metadata"].get("annotations") or {}
    cluster, uid = granted(secret)
    state = "orphaned" if (cluster, uid) not in present else "expired" if is_over(secret, now) else "valid"
    used = str(annotations.get(USED) or "")
    return Token(_text(secret, ID), cluster, _text(secret, "expiration"), used, state)


def _text(secret: Object, field: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(field) or "", validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _unreachable(home: Home, fault: ApiError) -> UnreachableError:
    return UnreachableError(
        f"federation {home.name} does not answer", why=str(fault), next_step="`federate status` tells what runs."
    )
