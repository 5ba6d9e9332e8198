"""
Every object that the federation propagates, from one informer a kind; kinds come and go with their definitions.

    templates = Templates(client)
    tasks.create_task(templates.run())
    templates.listen(lambda ref, change: queue.add(ref))
    await templates.wait_synced()

Not here    what is left alone (federation.placement.left_alone).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from cluster.api.resources import Resource
from cluster.client.discovery import preferred_resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError
from federation.api.refs import Ref, ref_of
from federation.placement.left_alone import is_propagated, is_propagated_kind
from federation.placement.member_owned import needs_managed_fields

log = logging.getLogger(__name__)

SETTLE = 0.1  # seconds: definitions often come several at once
RETRY = 1.0  # seconds, while discovery does not show what definitions say, or a group does not answer
RETURN = 2.0
"""Seconds at most between tries to read a kind, while the federation's apiserver is away: we are its one client that
reads everything, and all members wait for us."""
RENEW = 300.0  # seconds between looks without a reason: the server may be another one since
_DEFINITIONS = ("apiextensions.k8s.io", "CustomResourceDefinition")


class Change(Enum):
    """What a listener is told about a template, and who did it."""

    LISTED = "listed"
    """It is there, or is different: found by a list, at the start or after a break."""
    CHANGED = "changed"
    """Made or changed before our eyes: a user waits. Also when it is a template no longer (see `Templates.get`)."""
    DELETED = "deleted"
    """Deleted before our eyes."""
    MISSING = "missing"
    """No longer there, as a list or discovery found; nobody was seen to delete it."""


class GroupKind(NamedTuple):
    group: str
    kind: str


Listener = Callable[[Ref, Change], None]


class _Kind:
    """One informer and the task that runs it."""

    def __init__(self, resource: Resource, informer: Informer) -> None:
        self.resource = resource
        self.informer = informer
        self.tasks: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


class Templates:
    """
    `run` in a task; it ends when cancelled. Objects are shared: copy before changing.

    Args:
        client: with connections enough for a watch a kind (`ApiClient(…, connections=0)` has no limit).
        informer_of: makes the informer of a kind, given whether managedFields are needed; by default one of all
            its objects.
    """

    def __init__(self, client: ApiClient, informer_of: Callable[[Resource, bool], Informer] | None = None) -> None:
        self._client = client
        self._informer_of = informer_of or (
            lambda kind, managed: Informer(client, kind, managed_fields=managed, last_backoff=RETURN)
        )
        self._kinds: dict[GroupKind, _Kind] = {}
        """Those whose objects are known."""
        self._coming: dict[GroupKind, _Kind] = {}
        """Those that are listed at the moment, also in another version than the one known."""
        self._undefined: set[GroupKind] = set()
        """Kinds whose definition was deleted before our eyes: with it somebody deleted all of their objects."""
        self._listeners: list[Listener] = []
        self._changed = asyncio.Event()
        self._discovered = False
        self._synced = asyncio.Event()

    # --- reading -------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        """Every kind that was served at the start is listed. Kinds that come later: see `knows`."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def knows(self, group: str, kind: str) -> bool:
        """Whether the kind is propagated and its objects are listed: only then does a missing one mean anything."""
        return GroupKind(group, kind) in self._kinds

    def get(self, ref: Ref) -> Object | None:
        """None also for what is there and is left alone."""
        kind = self._kinds.get(GroupKind(ref.group, ref.kind))
        found = kind.informer.get(Key(ref.namespace, ref.name)) if kind is not None else None
        return found if found is not None and is_propagated(found) else None

    def list(self, namespace: str = "") -> Iterator[Object]:
        """All templates, or those in one namespace."""
        for kind in list(self._kinds.values()):
            yield from filter(is_propagated, kind.informer.list(namespace))

    def list_kind(self, group: str, kind: str, namespace: str = "") -> Iterator[Object]:
        """All of one kind; nothing when it is not served."""
        found = self._kinds.get(GroupKind(group, kind))
        if found is not None:
            yield from filter(is_propagated, found.informer.list(namespace))

    def resource_of(self, ref: Ref) -> Resource | None:
        """In the version in which the kind is read; None when it is not known (any more)."""
        kind = self._kinds.get(GroupKind(ref.group, ref.kind))
        return kind.resource if kind is not None else None

    def listen(self, listener: Listener) -> None:
        """
        Be told of every change but those of a status alone, and of everything that is there already.

        Listeners are plain functions that mostly put the ref into a queue; they must not block.
        """
        self._listeners.append(listener)
        for obj in list(self.list()):
            _call(listener, ref_of(obj), Change.LISTED)

    # --- keeping current -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        self._changed.set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    async with asyncio.timeout(RENEW):
                        await self._changed.wait()
                except TimeoutError:
                    log.debug("looking at the served kinds again")
                await asyncio.sleep(SETTLE)
                self._changed.clear()
                if not await self._discover(tasks):
                    asyncio.get_running_loop().call_later(RETRY, self._changed.set)

    async def _discover(self, tasks: asyncio.TaskGroup) -> bool:
        """Whether what was found can be all."""
        try:
            found, missing = await preferred_resources(self._client)
        except ApiError as error:
            log.warning("cannot see which kinds the federation serves, trying again: %s", error)
            return False
        wanted = {GroupKind(one.group, one.kind): one for one in found if is_propagated_kind(one)}
        for name, resource in wanted.items():
            known = self._coming.get(name) or self._kinds.get(name)
            if known is None or known.resource != resource:
                self._start(tasks, name, resource)
        self._discovered = True
        self._note_synced()
        if missing:
            log.warning("groups that cannot be asked for their kinds: %s", ", ".join(missing))
            return False  # a kind that is not found may be one of theirs
        for name in {*self._kinds, *self._coming} - wanted.keys():
            self._stop(name)
        self._note_synced()
        return self._agrees_with_definitions(wanted)

    def _agrees_with_definitions(self, wanted: dict[GroupKind, Resource]) -> bool:
        """Discovery follows definitions at a distance."""
        if _DEFINITIONS not in self._kinds:
            return True
        for definition in self._kinds[GroupKind(*_DEFINITIONS)].informer.list():
            name = GroupKind(definition["spec"]["group"], definition["spec"]["names"]["kind"])
            if _is_served(definition) and is_propagated(definition) and name not in wanted:
                return False
        return True

    def _start(self, tasks: asyncio.TaskGroup, name: GroupKind, resource: Resource) -> None:
        if name in self._coming:
            self._coming.pop(name).stop()
        log.debug("reading %s in %s", resource.qualified, resource.version)
        informer = self._informer_of(resource, needs_managed_fields(*name))
        kind = self._coming[name] = _Kind(resource, informer)
        informer.add_handler(
            lambda obj: self._tell(name, kind, None, obj),
            lambda old, new: self._tell(name, kind, old, new),
            lambda obj: self._tell(name, kind, obj, None),
        )
        title = f"templates {resource.qualified}"
        kind.tasks = [
            tasks.create_task(informer.run(), name=title),
            tasks.create_task(self._install(name, kind), name=f"{title}, first list"),
        ]

    async def _install(self, name: GroupKind, kind: _Kind) -> None:
        """Put a kind that is listed now in the place of what was known of it."""
        await kind.informer.wait_synced()
        if self._coming.get(name) is not kind:
            return
        del self._coming[name]
        before = self._kinds.pop(name, None)
        self._kinds[name] = kind
        if before is not None:
            before.stop()
            for obj in before.informer.list():
                if is_propagated(obj) and kind.informer.get(key_of(obj)) is None:
                    self._say(ref_of(obj), Change.MISSING)
        for obj in kind.informer.list():
            if is_propagated(obj):
                self._say(ref_of(obj), Change.LISTED)
        if name == _DEFINITIONS:
            self._changed.set()
        self._note_synced()

    def _stop(self, name: GroupKind) -> None:
        coming, known = self._coming.pop(name, None), self._kinds.pop(name, None)
        if coming is not None:
            coming.stop()
        if known is not None:
            known.stop()
            change = Change.DELETED if name in self._undefined else Change.MISSING
            for obj in known.informer.list():
                if is_propagated(obj):
                    self._say(ref_of(obj), change)
        self._undefined.discard(name)

    def _note_synced(self) -> None:
        if self._discovered and not self._coming:
            self._synced.set()

    # --- telling -------------------------------------------------------------------------------------------

    def _tell(self, name: GroupKind, kind: _Kind, old: Object | None, new: Object | None) -> None:
        if self._kinds.get(name) is not kind:
            return  # told at once when it is installed
        if name == _DEFINITIONS:
            self._changed.set()
            if not kind.informer.catching_up:
                self._note_definition(old, new)
        was, stays = old is not None and is_propagated(old), new is not None and is_propagated(new)
        listed = kind.informer.catching_up
        if new is None and old is not None and was:
            self._say(ref_of(old), Change.MISSING if listed else Change.DELETED)
        elif new is not None and (stays or was) and not (was and stays and _same_but_status(old, new)):
            self._say(ref_of(new), Change.LISTED if listed else Change.CHANGED)

    def _note_definition(self, old: Object | None, new: Object | None) -> None:
        definition = new or old or {}
        spec = definition["spec"]
        ends = new is None or bool(definition["metadata"].get("deletionTimestamp"))
        (self._undefined.add if ends else self._undefined.discard)(GroupKind(spec["group"], spec["names"]["kind"]))

    def _say(self, ref: Ref, change: Change) -> None:
        for listener in self._listeners:
            _call(listener, ref, change)


def _call(listener: Listener, ref: Ref, change: Change) -> None:
    try:
        listener(ref, change)
    except Exception:
        log.exception("a listener failed on %s", ref)


def _is_served(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    established = any(one["type"] == "Established" and one["status"] == "True" for one in conditions)
    served = any(one.get("served") for one in definition["spec"]["versions"])
    return served and established and not definition["metadata"].get("deletionTimestamp")


def _same_but_status(old: Object | None, new: Object) -> bool:
    return old is not None and _without_status(old) == _without_status(new)


def _without_status(obj: Object) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    return {**obj, "metadata": metadata, "status": None}
