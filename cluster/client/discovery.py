"""
Which resources the apiserver serves at the moment, custom ones included.

Used by the controllers that work on everything: namespaces, garbage collection, the federation's.
"""

import asyncio

import orjson

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound


async def preferred_resources(client: ApiClient) -> tuple[list[Resource], list[str]]:
    """
    Each resource once, in its group's preferred version; and the groups that could not be asked.

    Raises ApiError when not even the list of groups can be had.
    """
    found: dict[tuple[str, str], Resource] = {}
    served, missing = await served_resources(client)
    for resource in served:
        found.setdefault((resource.group, resource.plural), resource)
    return list(found.values()), missing


async def served_resources(client: ApiClient) -> tuple[list[Resource], list[str]]:
    """
    Each resource in all of its versions, the preferred first; and the groups that could not be asked.

    Raises ApiError when not even the list of groups can be had.
    """
    groups: Object = orjson.loads(await client.request("GET", "/apis"))
    versions = [("", "v1")]
    versions += [
        (group["name"], version["version"]) for group in groups.get("groups") or () for version in _ordered(group)
    ]
    answers = await asyncio.gather(*(_resources(client, *version) for version in versions), return_exceptions=True)
    found: list[Resource] = []
    missing = []
    for (group_name, version_name), answer in zip(versions, answers, strict=True):
        if isinstance(answer, ApiError):
            missing.append(f"{group_name}/{version_name}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return found, missing


def _ordered(group: Object) -> list[Object]:
    preferred = (group.get("preferredVersion") or {}).get("version")
    return sorted(group.get("versions") or (), key=lambda version: version["version"] != preferred)


async def _resources(client: ApiClient, group: str, version: str) -> list[Resource]:
    """Raises ApiError, also for an answer that makes no sense: another server may give it, for an aggregated API."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        answer = await client.request("GET", root)
    except NotFound:  # removed since the list of groups was read
        return []
    try:
        return _read(orjson.loads(answer), group, version)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApiError(f"the answer to GET {root} is no list of resources: {error}") from None


def _read(answer: Object, group: str, version: str) -> list[Resource]:
    return [
        Resource(
            group=group,
            version=version,
            plural=entry["name"],
            kind=entry["kind"],
            namespaced=bool(entry.get("namespaced")),
            verbs=frozenset(entry.get("verbs") or ()),
        )
        for entry in answer.get("resources") or ()
        if "/" not in entry["name"]
    ]
