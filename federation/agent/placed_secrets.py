"""
The Secrets that Placements send to this member, one watch each: the federation shows an agent no other ones.

Looks like an informer of all Secrets, for `Templates`. Source of the way: the kubelet's watch of its Pods' Secrets.
"""

import asyncio

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from federation.controllers.links.parts import part_of


class PlacedSecrets(Informer):
    """`run` in a task. `placements` is somebody else's informer, which runs."""

    def __init__(self, client: ApiClient, placements: Informer, cluster: str) -> None:
        super().__init__(client, resources.SECRETS)
        self._placements, self._cluster = placements, cluster
        self._wanted: dict[Key, set[Key]] = {}
        """Secret -> Placements that send it."""
        self._watches: dict[Key, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        placements.add_handler(self._placed, lambda _, new: self._placed(new), self._dropped)

    async def run(self) -> None:
        """Until cancelled."""
        await self._placements.wait_synced()
        async with asyncio.TaskGroup() as tasks:
            first = [self._watch_one(tasks, key) for key in list(self._wanted)]
            for informer in first:
                await informer.wait_synced()
            self._synced.set()
            while True:
                for key in [key for key in self._watches if key not in self._wanted]:
                    self._watches.pop(key).cancel()
                    self._remove(key, None)
                for key in [key for key in self._wanted if key not in self._watches]:
                    self._watch_one(tasks, key)
                await self._changed.wait()
                self._changed.clear()

    def _watch_one(self, tasks: asyncio.TaskGroup, key: Key) -> Informer:
        only = f"metadata.name={key.name}"
        informer = Informer(self._client, resources.SECRETS, namespace=key.namespace, field_selector=only)
        informer.add_handler(self._take_one, lambda _, new: self._take_one(new), self._lose_one)
        self._watches[key] = tasks.create_task(informer.run(), name=f"secret {key.namespace}/{key.name}")
        return informer

    def _take_one(self, secret: Object) -> None:
        self._put(key_of(secret), secret)

    def _lose_one(self, secret: Object) -> None:
        self._remove(key_of(secret), secret)

    def _placed(self, placement: Object) -> None:
        template = placement["spec"]["template"]
        if (template["apiVersion"], template["kind"]) != ("v1", "Secret"):
            return
        part = part_of(placement, self._cluster)
        if part.assignment is None and not part.evicting:
            self._dropped(placement)
            return
        key = Key(placement["metadata"].get("namespace") or "", template["name"])
        self._wanted.setdefault(key, set()).add(key_of(placement))
        self._changed.set()

    def _dropped(self, placement: Object) -> None:
        template = placement["spec"]["template"]
        key = Key(placement["metadata"].get("namespace") or "", template["name"])
        homes = self._wanted.get(key)
        if homes is None:
            return
        homes.discard(key_of(placement))
        if not homes:
            del self._wanted[key]
            self._changed.set()
