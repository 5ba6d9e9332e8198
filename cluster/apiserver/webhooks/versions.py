"""
The other versions of a resource, and objects in them: what webhooks with matchPolicy Equivalent are asked with.
"""

from collections.abc import Sequence
from typing import Protocol

from cluster.api.resources import Resource
from cluster.machinery.objects import Object


class Versions(Protocol):
    def others(self, resource: Resource) -> Sequence[Resource]:
        """The same objects under other names: `autoscaling/v1` for `autoscaling/v2`, Events of both groups."""

    async def bring(self, obj: Object, resource: Resource) -> Object:
        """A copy of an object in the version of `resource`. Raises ApiError when it cannot be converted."""
