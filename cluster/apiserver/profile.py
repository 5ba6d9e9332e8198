"""
What a control plane of another sort, served by this engine, has differently from a cluster.

A cluster's own apiserver runs with `CLUSTER`, in which every field says "as always".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from cluster.api.resources import ALL, Resource
from cluster.apiserver.admission.plugin import Plugin
from cluster.apiserver.authentication import TokenSource
from cluster.apiserver.authorization import UserAuthorizer
from cluster.apiserver.options import Options
from cluster.apiserver.registry.strategy import Strategy
from cluster.apiserver.requests import ObjectReader
from cluster.machinery.objects import Object

if TYPE_CHECKING:
    from cluster.apiserver.app import Apiserver
    from cluster.apiserver.verbs import Call


class Views(Protocol):
    """Kinds whose objects lie elsewhere."""

    async def serve(self, call: "Call") -> web.StreamResponse:
        """Any request on these kinds and their subresources. Raises ApiError."""

    async def close(self) -> None:
        """The server stops: what still runs ends."""


class PublicPages(Protocol):
    """Static pages that anybody may read: they hold nothing of anybody's."""

    def find(self, request: web.BaseRequest) -> web.Response | None:
        """None for a path that is none of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    definitions: tuple[Object, ...] = ()
    """CustomResourceDefinitions, established, that are served and neither stored nor changed by anybody."""
    namespaces: tuple[str, ...] = ()
    """Which are there besides the usual ones, and stay like these."""
    only_stores: bool = False
    """Nobody works on what is stored: Services get no addresses and ports, and there is no Service `kubernetes`."""
    plugins_off: frozenset[str] = frozenset()
    """Admission plugins that would wait for controllers which do not run here."""
    plugins: tuple[type[Plugin], ...] = ()
    """Admission plugins besides a cluster's."""
    authorizer: Callable[[ObjectReader], UserAuthorizer] | None = None
    """For users whose rights hang on what is stored, as a kubelet's do."""
    token_sources: tuple[Callable[[Options], TokenSource], ...] = ()
    """Who knows tokens besides those that the flags name."""
    strategies: Mapping[str, type[Strategy]] = field(default_factory=dict)
    """By `Resource.qualified`."""
    views: "Callable[[Apiserver], Views] | None" = None
    viewed: frozenset[tuple[str, str]] = frozenset()
    """(group, plural) of kinds that `views` serves: they can be read and not written."""
    connected: frozenset[tuple[str, str, str]] = frozenset()
    """(group, plural, subresource) of connections that `views` serves, of kinds that are otherwise stored."""
    public: PublicPages | None = None

    @property
    def groups(self) -> frozenset[str]:
        """Of the definitions: nobody else may define kinds in them."""
        return frozenset(definition["spec"]["group"] for definition in self.definitions)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Every built-in resource, as discovery tells it."""
        if not self.viewed:
            return ALL
        return tuple(
            replace(one, verbs=one.verbs & READS) if (one.group, one.plural) in self.viewed else one for one in ALL
        )


READS = frozenset({"get", "list", "watch"})
CLUSTER = Profile()
