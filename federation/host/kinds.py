"""What a user calls a kind (`deploy`, `deployments.apps`, `Deployment`) and the resource that is meant."""

from collections.abc import Iterable
from dataclasses import replace

from cluster.api.resources import ALL, Resource
from cluster.client.discovery import preferred_resources
from cluster.client.rest import ApiClient
from federation.errors import WrongInputError

_KNOWN = {(one.group, one.kind): one for one in ALL}


async def served(client: ApiClient) -> list[Resource]:
    """All that an API serves, with the short names that are known of built-in kinds. Raises ApiError."""
    found, _missing = await preferred_resources(client)
    return [_with_names(one) for one in found]


def _with_names(resource: Resource) -> Resource:
    known = _KNOWN.get((resource.group, resource.kind))
    if known is None:
        return replace(resource, singular=resource.singular or resource.kind.lower())
    return replace(resource, singular=known.singular, short_names=known.short_names)


def find_kind(text: str, resources: Iterable[Resource]) -> Resource:
    """The first that is called so, with or without its group. Raises WrongInputError."""
    name, _, group = text.lower().partition(".")
    for one in resources:
        names = {one.plural, one.singular, one.kind.lower(), *one.short_names}
        if name in names and (not group or group in (one.group, f"{one.version}.{one.group}")):
            return one
    raise WrongInputError(
        f"there is no kind {text!r}", why="the federation serves none of this name",
        next_step="`kubectl api-resources` at the federation lists them.",
    )  # fmt: skip
