"""`federate migrate`: promotions and moves as the command line asks for them, and what to do when they are refused."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from federation.errors import FederateError, UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.fleet import Fleet, fleet
from federation.host.home import Home
from federation.host.kinds import find_kind, served
from federation.migration.move import Mover
from federation.migration.promote import Promoter, Refused
from federation.migration.rebalance import rebalance as place_anew
from federation.migration.standing import Unfinished

Say = Callable[[str], None]


async def promote(
    home: Home, objects: Sequence[str], cluster: str, *, namespace: str, dry_run: bool, seconds: int, say: Say
) -> dict[str, Any]:
    """What was (or would be) promoted. Raises FederateError."""
    async with fleet(home, (cluster,)) as members:
        with _explained(f"nothing of {cluster} was promoted"):
            promoter = Promoter(members.federation, cluster, members.member(cluster).client, say)
            plan = await promoter.plan(await _named(members, objects), namespace)
            for line in plan.lines() if dry_run else ():
                say(line)
            if not dry_run:
                await promoter.carry_out(plan, seconds)
            return {"cluster": cluster, "objects": [str(one.ref) for one in plan.objects], "dryRun": dry_run}


async def move(
    home: Home,
    objects: Sequence[str],
    *,
    source: str,
    target: str,
    namespace: str,
    leave_data: bool,
    dry_run: bool,
    seconds: int,
    say: Say,
) -> dict[str, Any]:
    """What was (or would be) moved. Raises FederateError."""
    async with fleet(home, (source, target)) as members:
        with _explained(f"nothing was moved from {source} to {target}"):
            phase = (members.clusters[target].get("status") or {}).get("phase") or "Pending"
            if phase != "Ready":
                raise Refused(f"{target} is {phase}")
            mover = Mover(members.federation, say)
            named = await _named(members, objects)
            plan = await mover.plan(named, namespace, source, target, leave_data=leave_data)
            for line in plan.lines() if dry_run else ():
                say(line)
            if not dry_run:
                await mover.carry_out(plan, seconds)
            refs = [str(ref) for one in plan.policies for ref in one.refs]
            return {"from": source, "to": target, "objects": refs, "dryRun": dry_run}


async def rebalance(home: Home, objects: Sequence[str], *, namespace: str, seconds: int, say: Say) -> dict[str, Any]:
    """Where objects were and where they will be. Raises FederateError."""
    async with client(home) as federation:
        with _explained("not all of it was placed anew"):
            named = await _kinds_and_names(federation, objects)
            try:
                done = await place_anew(federation, named, namespace, seconds)
            except Unfinished as fault:
                raise Refused(str(fault)) from fault
        for one in done:
            say(f"{one.ref}: {one.before or 'nowhere'} -> {one.after or 'nowhere'}")
        return {"objects": [{"object": str(one.ref), "before": one.before, "after": one.after} for one in done]}


async def _named(members: Fleet, objects: Sequence[str]) -> list[tuple[Resource, str]]:
    """Raises WrongInputError."""
    return await _kinds_and_names(members.federation, objects)


async def _kinds_and_names(federation: ApiClient, objects: Sequence[str]) -> list[tuple[Resource, str]]:
    """Raises WrongInputError."""
    kinds = await served(federation)
    found = []
    for one in objects:
        kind, slash, name = one.partition("/")
        if not slash or not name or "/" in name:
            raise WrongInputError(
                f"{one!r} names no object", why="it is not of the form KIND/NAME", next_step="Write deployment/web."
            )
        found.append((find_kind(kind, kinds), name))
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as fault:
        raise FederateError(what, why=str(fault), next_step="Mend that, and run the same command again.") from fault
    except (ApiError, TimeoutError) as fault:
        raise UnreachableError(
            what, why=str(fault) or "it took too long", next_step="Run the same command again; it goes on where it was."
        ) from fault
