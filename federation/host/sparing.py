"""Members that are to get nothing new, or nothing at all: cordons and taints, as the command line asks for them."""

import datetime
from collections.abc import Callable, Sequence

from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_time
from federation.api.resources import CLUSTERS
from federation.errors import FederateError, UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.membership.taints import Change, as_text, changed, read_change

TRIES = 5


async def cordon(home: Home, name: str, *, wanted: bool) -> bool:
    """Whether that is new. Raises FederateError."""

    def change(spec: Object) -> Object:
        return {} if bool(spec.get("unschedulable")) == wanted else {"unschedulable": wanted or None}

    before, after = await _patch(home, name, change)
    return bool(before.get("unschedulable")) != bool(after.get("unschedulable"))


def read_changes(texts: Sequence[str]) -> list[Change]:
    """Raises WrongInputError."""
    try:
        return [read_change(one) for one in texts]
    except ValueError as fault:
        raise WrongInputError(
            "that is no taint", why=str(fault),
            next_step="Write it as in maintenance=tonight:NoExecute, or maintenance- to take it away.",
        ) from fault  # fmt: skip


async def taint(home: Home, name: str, changes: Sequence[Change]) -> list[str]:
    """The taints that the cluster has then, in words. Raises FederateError."""

    def change(spec: Object) -> Object:
        before = spec.get("taints") or []
        missing = [one for one in changes if one.away and changed(before, [one], "") == before]
        if missing:
            keys = ", ".join(sorted({one.key for one in missing}))
            raise WrongInputError(
                f"cluster {name} has no such taint", why=f"it has none with the key {keys}",
                next_step="`federate status --json` lists them.",
            )  # fmt: skip
        return {"taints": changed(before, changes, format_time(datetime.datetime.now(datetime.UTC)))}

    _, after = await _patch(home, name, change)
    return [as_text(one) for one in after.get("taints") or ()]


async def _patch(home: Home, name: str, change: Callable[[Object], Object]) -> tuple[Object, Object]:
    """The cluster's spec before and after; a change by somebody else meanwhile is taken in."""
    home.require()
    async with client(home) as federation:
        try:
            return await _patched(federation, name, change)
        except NotFound as fault:
            raise WrongInputError(
                f"there is no cluster {name}", why="it is no member of this federation",
                next_step="`federate status` lists them.",
            ) from fault  # fmt: skip
        except Conflict as fault:
            raise FederateError(
                f"cluster {name} was not changed", why="somebody else changes it all the time", next_step="Try again."
            ) from fault
        except ApiError as fault:
            raise UnreachableError(
                f"cluster {name} was not changed", why=str(fault), next_step="`federate status` tells what runs."
            ) from fault


async def _patched(federation: ApiClient, name: str, change: Callable[[Object], Object]) -> tuple[Object, Object]:
    for left in reversed(range(TRIES)):
        cluster = await federation.get(CLUSTERS, name)
        before: Object = cluster.get("spec") or {}
        patch = change(before)
        if not patch:
            return before, before
        version = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
        try:
            answer = await federation.patch(CLUSTERS, name, {"metadata": version, "spec": patch}, patch_type="merge")
            return before, answer["spec"]
        except Conflict:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
