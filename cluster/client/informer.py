"""
A local copy of a resource, kept current: list, watch, resume, list again when the server forgot.

Every controller and every node service reads from informers. Objects in the cache are shared: copy before
changing. They come without managedFields, half of their memory that nobody reads, unless asked for with
`managed_fields`; an update without them leaves them as they are. Who needs less still gives `keep`, which makes of an
object what is kept of it. Handlers are plain functions that mostly put a key into a queue; they must not block.
Source of the protocol: client-go, tools/cache/reflector.go.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, Gone, TooManyRequests

log = logging.getLogger(__name__)

PAGE_SIZE = 500
FIRST_BACKOFF = 0.4  # seconds
LAST_BACKOFF = 30.0  # seconds; both double with jitter, as the reflector's
MIN_WATCH_SECONDS = 300
"""A watch asks for this long up to twice as long, so that thousands do not end at the same moment."""
SHORT_WATCH = 1.0  # seconds: a watch that ended sooner without an event counts as failed

IndexFunction = Callable[[Object], Iterable[str]]
Objects = list[Object]


@dataclass(frozen=True, slots=True)
class Handler:
    on_add: Callable[[Object], None] | None = None
    on_update: Callable[[Object, Object], None] | None = None
    """Called with the old and the new object."""
    on_delete: Callable[[Object], None] | None = None


class Index:
    """Objects by a computed value, e.g. Pods by Node."""

    def __init__(self, values_of: IndexFunction) -> None:
        self.values_of = values_of
        self._by_value: dict[str, dict[Key, Object]] = {}

    def replace(self, key: Key, old: Object | None, new: Object | None) -> None:
        before = set(self.values_of(old)) if old is not None else set()
        after = set(self.values_of(new)) if new is not None else set()
        for value in before - after:
            bucket = self._by_value[value]
            bucket.pop(key, None)
            if not bucket:
                del self._by_value[value]
        if new is not None:
            for value in after:
                self._by_value.setdefault(value, {})[key] = new

    def get(self, value: str) -> list[Object]:
        return list(self._by_value.get(value, {}).values())


class Informer:
    """
    One resource, or the part of it that the selectors choose.

    Start it with `run()` in a task of your own; it returns only when cancelled. `wait_synced` returns once the
    first list is in the cache.
    """

    def __init__(
        self,
        client: ApiClient,
        resource: Resource,
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
        managed_fields: bool = False,
        keep: Callable[[Object], Object] | None = None,
        last_backoff: float = LAST_BACKOFF,
    ) -> None:
        """
        `last_backoff`: seconds between tries at a server that has long been away; few clients may ask more often.

        `keep` is given whole objects, managedFields too; it has to leave metadata's name, uid and version.
        """
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._field_selector = field_selector
        self._label_selector = label_selector
        self._metadata_only = metadata_only
        self._managed_fields = managed_fields
        self._keep = keep
        self._last_backoff = last_backoff
        self._objects: dict[Key, Object] = {}
        self._by_namespace = Index(lambda obj: (key_of(obj).namespace,))
        self._indexes: dict[str, Index] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._opened = 0.0
        """When the present watch was answered; 0: it is not yet."""
        self.last_version = ""
        """resourceVersion up to which the cache is current."""
        self.catching_up = False
        """While handlers hear what a list found, and not what was watched as it happened."""

    # --- reading -------------------------------------------------------------------------------------------

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> Objects:
        return self._by_namespace.get(namespace) if namespace else list(self._objects.values())

    def by_index(self, index: str, value: str) -> Objects:
        """Raises KeyError for an index nobody added."""
        return self._indexes[index].get(value)

    def __len__(self) -> int:
        return len(self._objects)

    # --- set up --------------------------------------------------------------------------------------------

    def add_index(self, name: str, values_of: IndexFunction) -> None:
        index = self._indexes[name] = Index(values_of)
        for key, obj in self._objects.items():
            index.replace(key, None, obj)

    def add_handler(
        self,
        on_add: Callable[[Object], None] | None = None,
        on_update: Callable[[Object, Object], None] | None = None,
        on_delete: Callable[[Object], None] | None = None,
    ) -> None:
        """A handler that comes late is told of everything that is already there."""
        handler = Handler(on_add, on_update, on_delete)
        self._handlers.append(handler)
        if on_add is not None:
            for obj in list(self._objects.values()):
                on_add(obj)

    # --- keeping current -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """List and watch for ever. Failures are logged and tried again; only cancelling ends it."""
        failures = 0
        while True:
            started = time.monotonic()
            self._opened = 0.0
            try:
                if not self.last_version:
                    await self._relist()
                if await self._watch() or time.monotonic() - started >= SHORT_WATCH:
                    failures = 0
                    continue
                failures += 1
            except Gone:
                log.info("%s: version %s is compacted, listing again", self.resource.qualified, self.last_version)
                self.last_version = ""
                failures = 1 if self._held() else failures + 1
                if failures == 1:
                    continue
            except ApiError as error:
                failures = 1 if self._held() or time.monotonic() - started > LAST_BACKOFF else failures + 1
                level = logging.DEBUG if isinstance(error, TooManyRequests) else logging.WARNING
                log.log(level, "%s: list or watch failed, trying again: %s", self.resource.qualified, error)
                if error.http_code not in (429, 503, 504):
                    self.last_version = ""
            pause = min(FIRST_BACKOFF * 2.0 ** (failures - 1), self._last_backoff)
            pause *= 1 + random.random()  # noqa: S311  (spreads load, guards nothing)
            first, returns = min(pause, FIRST_BACKOFF), self._client.returns
            await asyncio.sleep(first)
            if pause > first:
                await self._client.wait_return(returns, pause - first)

    def _held(self) -> bool:
        """Whether the watch that just ended was a good one for a while: then its loss is the first failure again."""
        return self._opened > 0.0 and time.monotonic() - self._opened >= SHORT_WATCH

    def _open(self) -> None:
        self._opened = time.monotonic()

    async def _relist(self) -> None:
        """Read everything, page by page at one version, then put it in place of the cache at once."""
        found: dict[Key, Object] = {}
        continue_ = ""
        while True:
            page = await self._client.list(
                self.resource,
                namespace=self._namespace,
                field_selector=self._field_selector,
                label_selector=self._label_selector,
                limit=PAGE_SIZE,
                continue_=continue_,
                metadata_only=self._metadata_only,
            )
            # Items of a list carry no kind; whoever reads them from the cache expects one.
            kind, api_version = self.resource.kind, self.resource.api_version
            for item in page.get("items") or ():
                item["kind"], item["apiVersion"] = kind, api_version
                found[key_of(item)] = self._kept(item)
            metadata = page.get("metadata") or {}
            continue_ = metadata.get("continue") or ""
            if not continue_:
                break
        self._replace_all(found)
        self.last_version = str(metadata.get("resourceVersion") or "")
        self._synced.set()

    async def _watch(self) -> bool:
        """One watch to its end. Returns whether it brought anything."""
        brought = False
        seconds = int(MIN_WATCH_SECONDS * (1 + random.random()))  # noqa: S311  (spreads load, guards nothing)
        async for event in self._client.watch(
            self.resource,
            namespace=self._namespace,
            field_selector=self._field_selector,
            label_selector=self._label_selector,
            resource_version=self.last_version,
            timeout_seconds=seconds,
            metadata_only=self._metadata_only,
            on_open=self._open,
        ):
            brought = True
            version = str((event.object.get("metadata") or {}).get("resourceVersion") or "")
            if _goes_back(self.last_version, version):
                # A store restored from a snapshot, or a server behind another: what we know is not its past.
                raise Gone(f"{self.resource.qualified}: the watch went back from {self.last_version} to {version}")
            if event.type in ("ADDED", "MODIFIED"):
                if self._metadata_only:
                    event.object["kind"], event.object["apiVersion"] = self.resource.kind, self.resource.api_version
                self._put(key_of(event.object), self._kept(event.object))
            elif event.type == "DELETED":
                self._remove(key_of(event.object), event.object if self._keep is None else self._keep(event.object))
            self.last_version = version or self.last_version
        return brought

    def _kept(self, obj: Object) -> Object:
        if self._keep is not None:
            return self._keep(obj)
        if not self._managed_fields:
            obj["metadata"].pop("managedFields", None)
        return obj

    def _replace_all(self, found: Mapping[Key, Object]) -> None:
        self.catching_up = True
        try:
            self._take(found)
        finally:
            self.catching_up = False

    def _take(self, found: Mapping[Key, Object]) -> None:
        for key in [key for key in self._objects if key not in found]:
            self._remove(key, None)
        for key, obj in found.items():
            old = self._objects.get(key)
            if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                self._remove(key, None)  # deleted and made anew while we did not look
            self._put(key, obj)

    def _put(self, key: Key, obj: Object) -> None:
        old = self._objects.get(key)
        if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
            return
        self._objects[key] = obj
        self._reindex(key, old, obj)
        for handler in self._handlers:
            if old is None and handler.on_add is not None:
                self._call(handler.on_add, obj)
            elif old is not None and handler.on_update is not None:
                self._call(handler.on_update, old, obj)

    def _remove(self, key: Key, last: Object | None) -> None:
        """`last` is the state at the deletion, where the watch told it; else the last one known."""
        old = self._objects.pop(key, None)
        if old is None:
            return
        self._reindex(key, old, None)
        for handler in self._handlers:
            if handler.on_delete is not None:
                self._call(handler.on_delete, last if last is not None else old)

    def _reindex(self, key: Key, old: Object | None, new: Object | None) -> None:
        self._by_namespace.replace(key, old, new)
        for index in self._indexes.values():
            index.replace(key, old, new)

    def _call(self, function: Callable[..., None], *objects: Object) -> None:
        """A fault in one handler is logged with its traceback and keeps neither cache nor other handlers behind."""
        try:
            function(*objects)
        except Exception:
            log.exception("%s: a handler failed on %s", self.resource.qualified, key_of(objects[-1]))


def _goes_back(last: str, new: str) -> bool:
    return last.isdigit() and new.isdigit() and int(new) < int(last)
