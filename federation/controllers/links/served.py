"""
Which kinds a member serves, and what it has of those that the federation placed there.

One informer a kind, from the first object of the kind that concerns the member until the member no longer serves it.
Only objects with our label are read.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from cluster.api.resources import Resource
from cluster.client.discovery import served_resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError
from federation.api.refs import Ref
from federation.controllers.links.copies import Copy, copy_in, copy_of, slim
from federation.controllers.links.decide import Known, Nowhere
from federation.placement.left_alone import is_propagated_kind
from federation.placement.render import MANAGED

log = logging.getLogger(__name__)

SETTLE = 0.1  # seconds: definitions often come several at once, and discovery follows them at a distance
RENEW = 120.0  # seconds between looks without a reason
RETRY = 2.0  # seconds after a look that failed
ASK_AT_ONCE = 8
NOT_FOR_US = frozenset({403, 404, 405})
"""Answers about a kind that we have nothing of then."""
SLOW = 10.0  # seconds after which who waits for a kind is told that it cannot be read
Kind = tuple[str, str]
"""(group, kind)"""


class _Read:
    """One kind that is read, in one version."""

    def __init__(self, resource: Resource, informer: Informer) -> None:
        self.resource, self.informer = resource, informer
        self.tasks: list[asyncio.Task[None]] = []
        self.since = asyncio.get_running_loop().time()
        self.fresh: dict[Key, tuple[int, Copy]] = {}
        """What our writes were answered, until the informer has come as far."""

    def answer_of(self, obj: Object) -> Copy | None:
        """The copy that is known already, of an object in the very state that a write of ours was answered with."""
        if not self.fresh:
            return None
        metadata = obj["metadata"]
        fresh = self.fresh.get(Key(metadata.get("namespace") or "", metadata["name"]))
        if fresh is None or (fresh[1].version, fresh[1].uid) != (metadata["resourceVersion"], metadata["uid"]):
            return None
        return fresh[1]


class Served:
    """
    `run` in a task.

    Args:
        on_kinds: called when kinds came or went, or a kind's first list is there.
        on_copy: called with the object that is new, different or gone, and whether it is gone.
    """

    def __init__(
        self, name: str, client: ApiClient, on_kinds: Callable[[], None], on_copy: Callable[[Ref, bool], None]
    ) -> None:
        self._name, self._client = name, client
        self._on_kinds, self._on_copy = on_kinds, on_copy
        self._resources: dict[Kind, dict[str, Resource]] = {}
        """By version, the preferred one first."""
        self._missing: frozenset[str] = frozenset()
        """Groups that could not be asked for their kinds."""
        self._read: dict[Kind, _Read] = {}
        self._look = asyncio.Event()
        self._second: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self.known = False
        """Discovery was answered once."""
        self.silent = False
        """It was asked for, and not answered for long."""

    # --- what is served ------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Something suggests that other kinds are served by now, or will be soon: discovery follows at a distance."""
        self._look.set()
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(RETRY, self._look_once_more)

    def _look_once_more(self) -> None:
        self._second = None
        self._look.set()

    def resource(self, wanted: Resource) -> Resource | None:
        """The member's, in the very version: an object's fields mean nothing in another one."""
        return self._resources.get((wanted.group, wanted.kind), {}).get(wanted.version)

    def any_version(self, kind: Kind) -> Resource | None:
        """For deletions: any version will do."""
        read = self._read.get(kind)
        if read is not None:
            return read.resource
        return next(iter(self._resources.get(kind, {}).values()), None)

    def versions(self, kind: Kind) -> list[str]:
        return list(self._resources.get(kind, {}))

    def is_gone(self, kind: Kind) -> bool:
        """The member was asked, and serves nothing of the kind: no object of it can be there."""
        return self.known and kind not in self._resources and kind[0] not in self._missing

    def is_slow(self, kind: Kind) -> bool:
        """Whether the member's objects of a kind are not read, although that was tried for long."""
        read = self._read.get(kind)
        if read is None or read.informer.has_synced:
            return False
        return asyncio.get_running_loop().time() - read.since >= SLOW

    # --- what is there -------------------------------------------------------------------------------------

    def watch(self, resource: Resource) -> bool:
        """Read this kind; whether its first list is there."""
        kind = (resource.group, resource.kind)
        read = self._read.get(kind)
        if read is None or read.resource != resource:
            self._stop(kind)
            read = self._start(resource)
        return read.informer.has_synced

    def copy(self, ref: Ref) -> Known:
        """What is known of an object, without asking."""
        read = self._read.get((ref.group, ref.kind))
        if read is None:
            return Nowhere.UNSEEN
        key = Key(ref.namespace, ref.name)
        fresh = read.fresh.get(key)
        kept = read.informer.get(key)
        if fresh is not None:
            version, written = fresh
            if _number(read.informer.last_version) < version and (
                kept is None or _number(kept["metadata"]["resourceVersion"]) < version
            ):
                return written
            del read.fresh[key]
        return copy_in(kept) if kept is not None else Nowhere.UNSEEN

    def wrote(self, ref: Ref, answer: Object) -> Copy:
        """Remember the answer to a write: the informer is a moment behind."""
        copy = copy_of(answer)
        read = self._read.get((ref.group, ref.kind))
        version = _number(copy.version)
        if read is not None and version:
            read.fresh[Key(ref.namespace, ref.name)] = (version, copy)
        return copy

    def copies(self) -> Iterator[tuple[Ref, Copy]]:
        """Everything with our label, of the kinds that are read."""
        for (group, kind), read in self._read.items():
            for kept in read.informer.list():
                metadata = kept["metadata"]
                yield Ref(group, kind, metadata.get("namespace") or "", metadata["name"]), copy_in(kept)

    async def unread(self) -> list[tuple[Ref, Copy]]:
        """Everything with our label of kinds that nobody reads, asked for once. Raises ApiError where nobody says."""
        wanted = [
            next(iter(versions.values()))
            for kind, versions in self._resources.items()
            if kind not in self._read and is_propagated_kind(next(iter(versions.values())))
        ]
        asking = asyncio.Semaphore(ASK_AT_ONCE)

        async def ask(resource: Resource) -> list[tuple[Ref, Copy]]:
            async with asking:
                try:
                    listed = await self._client.list(
                        resource, label_selector=f"{MANAGED}=true", resource_version="0", metadata_only=True
                    )
                except ApiError as refused:
                    if refused.http_code in NOT_FOR_US:
                        return []
                    raise
            return [
                (
                    Ref(resource.group, resource.kind, one["metadata"].get("namespace") or "", one["metadata"]["name"]),
                    copy_of(one),
                )
                for one in listed.get("items") or ()
            ]

        return [one for found in await asyncio.gather(*map(ask, wanted)) for one in found]

    def __len__(self) -> int:
        return sum(len(read.informer) for read in self._read.values())

    # --- keeping current -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._note_silence(), name=f"{self._name}: silence")
            self._look.set()
            while True:
                try:
                    async with asyncio.timeout(RENEW):
                        await self._look.wait()
                except TimeoutError:
                    log.debug("%s: looking at the served kinds again", self._name)
                self._look.clear()
                if self.known:
                    await asyncio.sleep(SETTLE)
                if not await self._discover():
                    asyncio.get_running_loop().call_later(RETRY, self._look.set)

    async def _discover(self) -> bool:
        """Whether what was found can be all."""
        try:
            found, missing = await served_resources(self._client)
        except ApiError as error:
            log.info("cluster %s does not say which kinds it serves, trying again: %s", self._name, error)
            return False
        resources: dict[Kind, dict[str, Resource]] = {}
        for one in found:
            if {"get", "list", "watch", "patch", "delete"} <= one.verbs:
                resources.setdefault((one.group, one.kind), {})[one.version] = one
        self._missing = frozenset(version.rpartition("/")[0] for version in missing)
        for kind, versions in self._resources.items():
            if kind[0] in self._missing:
                resources.setdefault(kind, versions)  # what it served; whether it still does is not known
        changed = resources != self._resources
        self._resources = resources
        first, self.known = not self.known, True
        for kind in [kind for kind in self._read if kind not in resources]:
            self._stop(kind)
        if changed or first:
            self._on_kinds()
        return not missing

    def _start(self, resource: Resource) -> _Read:
        if self._tasks is None:
            raise RuntimeError("a kind can only be read while run() runs")
        informer = Informer(
            self._client, resource, label_selector=f"{MANAGED}=true", keep=lambda obj: slim(obj, read.answer_of(obj))
        )
        read = self._read[(resource.group, resource.kind)] = _Read(resource, informer)
        tell = self._teller(resource, read)
        informer.add_handler(
            lambda obj: tell(obj, gone=False), lambda _, new: tell(new, gone=False), lambda obj: tell(obj, gone=True)
        )
        title = f"{self._name}: {resource.qualified}"
        read.tasks = [
            self._tasks.create_task(informer.run(), name=title),
            self._tasks.create_task(self._announce(read), name=f"{title}, first list"),
        ]
        return read

    async def _announce(self, read: _Read) -> None:
        try:
            async with asyncio.timeout(SLOW):
                await read.informer.wait_synced()
        except TimeoutError:
            self._on_kinds()
            await read.informer.wait_synced()
        self._on_kinds()

    async def _note_silence(self) -> None:
        await asyncio.sleep(SLOW)
        if not self.known:
            self.silent = True
            self._on_kinds()

    def _teller(self, resource: Resource, read: _Read) -> "_Tell":
        def tell(obj: Object, *, gone: bool) -> None:
            metadata = obj["metadata"]
            namespace, name = metadata.get("namespace") or "", metadata["name"]
            if gone:
                read.fresh.pop(Key(namespace, name), None)
            self._on_copy(Ref(resource.group, resource.kind, namespace, name), gone)

        return tell

    def _stop(self, kind: Kind) -> None:
        read = self._read.pop(kind, None)
        if read is not None:
            for task in read.tasks:
                task.cancel()


_Tell = Callable[..., None]


def _number(version: str) -> int:
    """Versions of Kubernetes servers are numbers that grow; of any other server nothing is known (0)."""
    return int(version) if version.isdecimal() else 0
