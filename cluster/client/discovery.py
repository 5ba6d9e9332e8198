"""
Which resources the apiserver serves at the moment, custom ones included.

Used by the controllers that work on everything: namespaces, garbage collection, the federation's. Two requests where
the server knows the aggregated form (Kubernetes 1.30), else one a group version.
"""

import asyncio

import orjson

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound

_FORMS = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}


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
    groups = await _document(client, "/apis")
    if _is_aggregated(groups):
        core = await _document(client, "/api")
        if _is_aggregated(core):
            return _read_aggregated([*(core.get("items") or ()), *(groups.get("items") or ())])
        groups = orjson.loads(await client.request("GET", "/apis"))
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


async def _document(client: ApiClient, path: str) -> Object:
    """Raises ApiError."""
    try:
        found = orjson.loads(await client.request("GET", path, headers=_FORMS))
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the answer to GET {path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(f"the answer to GET {path} is no object")
    return found


def _is_aggregated(document: Object) -> bool:
    return document.get("kind") == "APIGroupDiscoveryList"


def _read_aggregated(groups: list[Object]) -> tuple[list[Resource], list[str]]:
    """A version that the server could not ask for just now is missing, whatever it remembers of it."""
    found: list[Resource] = []
    missing = []
    for group in groups:
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            try:
                if version.get("freshness") == "Stale":
                    raise ValueError("not asked for lately")
                found += _resources_of(version, name)
            except (AttributeError, KeyError, TypeError, ValueError):
                missing.append(f"{name}/{version.get('version')}")
    return found, missing


def _resources_of(version: Object, group: str) -> list[Resource]:
    return [
        Resource(
            group=group,
            version=version["version"],
            plural=entry["resource"],
            kind=entry["responseKind"]["kind"],
            namespaced=entry.get("scope") == "Namespaced",
            verbs=frozenset(entry.get("verbs") or ()),
        )
        for entry in version.get("resources") or ()
        if (entry.get("responseKind") or {}).get("kind")  # a parent that has subresources alone has none
    ]


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
