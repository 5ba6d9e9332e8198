"""Objects across clusters, for `federate get`: what each member has under a kind, and who did not answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api.resources import Resource
from cluster.apiserver.negotiation import OBJECT, TABLE, View
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.apiserver.views import marks
from federation.apiserver.views.asking import UnansweredError, accept, ask
from federation.errors import UnreachableError, WrongInputError
from federation.host.fleet import Fleet
from federation.host.kinds import find_kind, served
from federation.membership.member_clients import Member
from federation.placement.render import MANAGED


@dataclass(frozen=True, slots=True)
class Asked:
    kind: str
    name: str = ""
    namespace: str = "default"
    all_namespaces: bool = False
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    items: tuple[Object, ...]
    """Marked with their clusters; empty where a table was wanted."""
    warnings: tuple[str, ...]


async def get(fleet: Fleet, asked: Asked, *, as_table: bool) -> Found:
    """
    Raises WrongInputError for a kind that nobody serves and a name that no member has, UnreachableError when no member
    answers.
    """
    resource = await _resource(fleet, asked.kind)
    namespace = "" if asked.all_namespaces and not asked.name else asked.namespace
    path = resource.path(namespace, asked.name)
    params = {"labelSelector": asked.selector} if asked.selector else {}
    form = accept(View(TABLE if as_table else OBJECT), many=not asked.name)
    warnings = [str(UnansweredError(name, why)) for name, why in fleet.faults.items()]
    answers: list[tuple[str, Object]] = []
    absent: list[str] = []

    async def one(member: Member) -> tuple[str, Object] | None:
        try:
            return member.name, await ask(member, path, params, form)
        except NotFound as fault:
            absent.append(member.name)
            if not asked.name:
                warnings.append(str(UnansweredError(member.name, fault.message)))
        except (UnansweredError, ApiError) as fault:
            said = fault.message if isinstance(fault, ApiError) else ""
            warnings.append(str(UnansweredError(member.name, said)) if said else str(fault))
        return None

    results = await asyncio.gather(*(one(member) for member in fleet.members.values()))
    answers += [answer for answer in results if answer is not None]
    _check(asked, resource, fleet, bool(answers), absent, warnings)
    if as_table:
        return _table(answers, warnings, show_namespace=asked.all_namespaces and resource.namespaced)
    return Found((), (), tuple(_items(resource, answers)), tuple(warnings))


async def _resource(fleet: Fleet, kind: str) -> Resource:
    """Of the federation, or else of the first member that serves it: not every kind of theirs is federated."""
    try:
        return find_kind(kind, await served(fleet.federation))
    except WrongInputError:
        for member in fleet.members.values():
            try:
                async with asyncio.timeout(5):
                    return find_kind(kind, await served(member.client))
            except (WrongInputError, ApiError, TimeoutError):
                continue
        raise


def _check(
    asked: Asked, resource: Resource, fleet: Fleet, answered: bool, absent: Sequence[str], warnings: Sequence[str]
) -> None:
    if answered or (fleet.members and len(absent) == len(fleet.members) and not asked.name):
        return
    if asked.name and absent:
        raise WrongInputError(
            f'no cluster that answers has {resource.qualified} "{asked.name}"',
            why="; ".join(warnings) or f"asked were {', '.join(sorted(absent))}",
            next_step="Look for its namespace with --all-namespaces.",
        )
    if not fleet.clusters:
        raise WrongInputError(
            "there is nothing to ask", why="the federation has no members", next_step="`federate join` makes one."
        )
    raise UnreachableError(
        "no cluster answers", why="; ".join(warnings), next_step="`federate status` tells their health."
    )


def _items(resource: Resource, answers: Sequence[tuple[str, Object]]) -> list[Object]:
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    found = []
    for cluster, answer in answers:
        listed = answer["items"] if isinstance(answer.get("items"), list) else [answer]
        found += [marks.mark({**head, **item}, cluster) for item in listed]
    return found


def _table(answers: Sequence[tuple[str, Object]], warnings: Sequence[str], *, show_namespace: bool) -> Found:
    columns = marks.Columns()
    taken: list[Object] = []
    for cluster, answer in answers:
        taken += columns.take(answer, cluster, marks.column_names(answer))
    shown = [at for at, column in enumerate(columns.definitions) if not column.get("priority")]
    names = [str(columns.definitions[at].get("name")) for at in shown]
    head = (*(("NAMESPACE",) if show_namespace else ()), *(name.upper() for name in names), "FEDERATED")
    return Found(head, tuple(_row(row, shown, show_namespace=show_namespace) for row in taken), (), tuple(warnings))


def _row(row: Object, shown: Sequence[int], *, show_namespace: bool) -> tuple[str, ...]:
    cells: list[Any] = row["cells"]
    metadata = (row.get("object") or {}).get("metadata") or {}
    ours = (metadata.get("labels") or {}).get(MANAGED) == "true"
    namespace = (str(metadata.get("namespace") or ""),) if show_namespace else ()
    picked = (cells[at] if at < len(cells) else None for at in shown)
    return (*namespace, *("" if cell is None else str(cell) for cell in picked), "yes" if ours else "no")
