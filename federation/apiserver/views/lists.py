"""
LIST over members: all are asked at once, their items become one list, and who does not answer is named in a warning.

With a limit, each page takes a share from every member that has more, so no page waits for members one after another.
What a member answers is marked and packed again at once: decoded, the items of all of them would take several times as
much memory.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from cluster.api.resources import Resource
from cluster.apiserver.negotiation import PARTIAL, TABLE, View
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest, Gone
from federation.apiserver.views import marks, versions
from federation.apiserver.views.asking import UnansweredError, accept, ask
from federation.membership.member_clients import Member


@dataclass(frozen=True, slots=True)
class Wanted:
    """One list, as every member is asked for it."""

    resource: Resource
    path: str
    params: Mapping[str, str]
    view: View


@dataclass(frozen=True, slots=True)
class _Part:
    """What one member answered."""

    name: str
    metadata: Object
    items: bytes = b""
    """Marked, as JSON without its brackets."""
    table: Object | None = None
    """In place of the items, where the client wants one."""


async def listed(
    wanted: Wanted,
    members: Sequence[Member],
    limit: int,
    token: str,
    warnings: list[str],
    ours: Object | None = None,
) -> bytes:
    """
    The answer's body.

    Args:
        ours: what the federation itself has to add to the first page, as a member would have answered it.
        limit: items on a page, 0 for all; each page has at least one of every member that it asks.
        token: of the page before.

    Raises:
        BadRequest: what all members refuse, and a token that is none.
        Gone: the next page of a member is not to be had any more.
    """
    pages, waiting = _pages(members, limit, versions.unpack_continue(token) if token else None)
    share = {"limit": str(max(1, limit // len(pages)))} if limit and pages else {}
    parts = await _gather(wanted, pages, share, warnings)
    seen: dict[str, str] = {}
    more: dict[str, str] = dict(waiting)
    remaining = 0
    for part in parts:
        metadata = part.metadata
        seen[part.name] = str(metadata.get("resourceVersion") or "")
        if metadata.get("continue"):
            more[part.name] = str(metadata["continue"])
            remaining += int(metadata.get("remainingItemCount") or 0)
    metadata = {"resourceVersion": versions.pack(seen)}
    if more:
        metadata["continue"] = versions.pack(more)
    if ours is not None and not token:
        parts.append(_part(wanted, "", ours))
    return _body(wanted, parts, {**metadata, **({"remainingItemCount": remaining} if remaining else {})})


def _pages(
    members: Sequence[Member], limit: int, where: Mapping[str, str] | None
) -> tuple[list[tuple[Member, str]], dict[str, str]]:
    """Members of this page with their tokens, and those for whom there is no room on it."""
    left = [(one, where.get(one.name, "")) for one in members if one.name in where] if where is not None else [
        (one, "") for one in members
    ]  # fmt: skip
    if not limit or len(left) <= limit:
        return left, {}
    return left[:limit], {member.name: token for member, token in left[limit:]}


async def _gather(
    wanted: Wanted, pages: Sequence[tuple[Member, str]], share: Mapping[str, str], warnings: list[str]
) -> list[_Part]:
    """What each member answers, in order; faults of single members become warnings."""

    async def one(member: Member, token: str) -> _Part | UnansweredError | ApiError:
        params = {**wanted.params, **share, **({"continue": token} if token else {})}
        try:
            answer = await ask(member, wanted.path, params, accept(wanted.view, many=True))
        except (UnansweredError, ApiError) as fault:
            return fault
        return _part(wanted, member.name, answer)

    found: list[_Part] = []
    refusals: list[BadRequest] = []
    answers = await asyncio.gather(*(one(member, token) for member, token in pages))
    for (member, token), answer in zip(pages, answers, strict=True):
        if isinstance(answer, Gone) and token:
            raise Gone(f"the list of cluster {member.name} cannot be continued: {answer.message}")
        if isinstance(answer, BadRequest):
            refusals.append(answer)
        if isinstance(answer, ApiError):
            warnings.append(str(UnansweredError(member.name, answer.message)))
        elif isinstance(answer, UnansweredError):
            warnings.append(str(answer))
        else:
            found.append(answer)
    if refusals and not found:
        raise refusals[0]
    return found


def _part(wanted: Wanted, name: str, answer: Object) -> _Part:
    metadata = answer.get("metadata") or {}
    if wanted.view.shape == TABLE:
        return _Part(name, metadata, table=answer)
    return _Part(name, metadata, orjson.dumps([marks.mark(item, name) for item in answer.get("items") or []])[1:-1])


def _body(wanted: Wanted, parts: Sequence[_Part], metadata: Object) -> bytes:
    view = wanted.view
    if view.shape == TABLE:
        columns = marks.Columns()
        tables = [(part.name, part.table) for part in parts if part.table is not None]
        rows = [row for name, table in tables for row in columns.take(table, name, marks.column_names(table))]
        definitions = columns.definitions or [{**marks.COLUMN, "name": "Name", "format": "name"}, marks.COLUMN]
        head: Object = {"kind": "Table", "apiVersion": f"meta.k8s.io/{view.version}", "metadata": metadata}
        return orjson.dumps({**head, "columnDefinitions": definitions, "rows": rows})
    if view.shape == PARTIAL:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{view.version}"}
    else:
        head = {"kind": f"{wanted.resource.kind}List", "apiVersion": wanted.resource.api_version}
    start = orjson.dumps({**head, "metadata": metadata})[:-1]
    return b"".join((start, b',"items":[', b",".join([part.items for part in parts if part.items]), b"]}"))
