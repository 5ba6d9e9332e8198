"""
LIST: from memory whenever what is asked for is there, from etcd at an old revision otherwise.

Source of the semantics: the Kubernetes API concepts page, "Semantics for get and list".
"""

from dataclasses import replace
from itertools import islice

from cluster.apiserver import views
from cluster.apiserver.list_bodies import Items, ListBodies
from cluster.apiserver.list_options import EXACT, NOT_OLDER_THAN, ListOptions, decode_continue, encode_continue
from cluster.apiserver.negotiation import OBJECT, View
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.selection import Matches, everything
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Gone, Timeout
from cluster.store.encoding import Entry
from cluster.store.object_store import CompactedError, ObjectStore
from cluster.store.resource_cache import cache_key
from cluster.store.watch_cache import TooNewError, WatchCache

_STALE_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


class ExpiredContinue(Gone):
    """A token of a compacted revision; the answer carries one with which to go on inconsistently."""

    def __init__(self, token: str) -> None:
        super().__init__(_STALE_CONTINUE)
        self._token = token

    @property
    def status(self) -> Object:
        return {**super().status, "metadata": {"continue": self._token}}


class Lister:
    def __init__(self, cache: WatchCache, store: ObjectStore) -> None:
        self._cache = cache
        self._store = store
        self.bodies = ListBodies()

    async def body(
        self, kind: Kind, namespace: str, options: ListOptions, matches: Matches, view: View, include: str = ""
    ) -> bytes:
        """The answer's body. Raises Gone, Timeout, BadRequest."""
        if view.shape == OBJECT and for_memory(options):
            await self.fresh(options.resource_version)
            parts = self.parts(kind, namespace, options, matches)
            if parts is not None:
                return b"".join(parts)
        entries, meta = await self.entries(kind, namespace, options, matches)
        return views.many(kind, entries, meta, view, include)

    def parts(self, kind: Kind, namespace: str, options: ListOptions, matches: Matches) -> tuple[bytes, ...] | None:
        """
        The body of a plain list `for_memory`, in pieces, as memory has it now; None when objects must be converted.
        """
        limit = 0 if options.resource_version == "0" else options.limit
        if kind.convert is not None or kind.converts or kind.cache.unreadable:
            return None
        key = (kind.prefix, kind.place, namespace, options.label_selector, options.field_selector, limit)

        def make() -> Items:
            entries, meta = self._from_memory(kind, namespace, self._cache.revision, "", limit, matches)
            last = (entries[-1].namespace, entries[-1].name) if meta.continue_token else None
            return Items(views.join(kind, entries), last, meta.remaining)

        items = self.bodies.get(key, kind.cache.changes, make)
        meta = views.ListMeta(self._cache.revision, "", items.remaining)
        if items.continue_from is not None:
            meta = replace(meta, continue_token=self._token(meta.revision, namespace, *items.continue_from))
        return kind.list_head, meta.encode(), b',"items":[', items.data, b"]}"

    async def entries(
        self, kind: Kind, namespace: str, options: ListOptions, matches: Matches
    ) -> tuple[list[Entry], views.ListMeta]:
        if kind.converts:
            return await self._converted(kind, namespace, options, matches)
        return await self._as_stored(kind, namespace, options, matches)

    async def _converted(
        self, kind: Kind, namespace: str, options: ListOptions, matches: Matches
    ) -> tuple[list[Entry], views.ListMeta]:
        """Of a kind whose objects a webhook converts. Selectors look at what comes out, so all have to go in."""
        if matches is everything:
            entries, meta = await self._as_stored(kind, namespace, options, everything)
            return await kind.converted(entries), meta
        whole = replace(options, limit=0, match=options.match or (EXACT if _is_page(options) else ""))
        entries, meta = await self._as_stored(kind, namespace, whole, everything)
        found = list(filter(matches, await kind.converted(entries)))
        if not options.limit or len(found) <= options.limit or options.resource_version == "0":
            return found, meta
        found = found[: options.limit]
        return found, views.ListMeta(
            meta.revision, self._token(meta.revision, namespace, found[-1].namespace, found[-1].name)
        )

    async def _as_stored(
        self, kind: Kind, namespace: str, options: ListOptions, matches: Matches
    ) -> tuple[list[Entry], views.ListMeta]:
        if options.continue_token:
            revision, start = decode_continue(options.continue_token)
            # A start key names the first of the rest; its trailing NUL makes it "behind the last one seen".
            return await self._at(kind, namespace, max(revision, 0), start.rstrip("\0"), options, matches)
        if not for_memory(options):
            return await self._at(kind, namespace, options.revision, "", options, matches)
        await self.fresh(options.resource_version)
        limit = 0 if options.resource_version == "0" else options.limit
        return self._from_memory(kind, namespace, self._cache.revision, "", limit, matches)

    async def fresh(self, resource_version: str) -> None:
        """Wait until memory is as new as the client asks: now, any time, or not older than a version."""
        if resource_version == "":
            await self._cache.catch_up()
        elif resource_version != "0":
            try:
                await self._cache.wait_for(int(resource_version))
            except TooNewError as fault:
                raise too_new(fault) from None

    def _from_memory(
        self, kind: Kind, namespace: str, revision: int, after: str, limit: int, matches: Matches
    ) -> tuple[list[Entry], views.ListMeta]:
        if kind.cache.unreadable:
            kind.cache.check_readable(namespace)
        found = kind.cache.entries(namespace, cache_key(namespace, after) if namespace and after else after)
        if matches is not everything:
            found = filter(matches, found)
        if not limit:
            return list(found), views.ListMeta(revision)
        entries = list(islice(found, limit))
        if next(found, None) is None:
            return entries, views.ListMeta(revision)
        last = entries[-1]
        remaining = 0
        if matches is everything:
            remaining = kind.cache.count(namespace, cache_key(last.namespace, last.name))
        token = self._token(revision, namespace, last.namespace, last.name)
        return entries, views.ListMeta(revision, token, remaining)

    @staticmethod
    def _token(revision: int, namespace: str, last_namespace: str, last_name: str) -> str:
        start = last_name if namespace else cache_key(last_namespace, last_name)
        return encode_continue(revision, start + "\0")

    async def _at(
        self, kind: Kind, namespace: str, revision: int, after: str, options: ListOptions, matches: Matches
    ) -> tuple[list[Entry], views.ListMeta]:
        """As of one revision. Unchanged since then, memory has it; else etcd is asked."""
        if revision and revision > self._cache.revision:
            await self.fresh(str(revision))
        if revision == 0:
            await self._cache.catch_up()
        if kind.cache.version <= (revision or self._cache.revision):
            return self._from_memory(kind, namespace, revision or self._cache.revision, after, options.limit, matches)
        found: list[Entry] = []
        start = cache_key(namespace, after) if namespace and after else after
        while True:
            try:
                page = await self._store.list_at(kind.place, namespace, revision, start, options.limit)
            except CompactedError:
                if not options.continue_token:
                    raise Gone("The resourceVersion for the provided list is too old.") from None
                raise ExpiredContinue(encode_continue(-1, after + "\0")) from None
            revision = revision or page.revision
            for at, entry in enumerate(page.entries):
                if matches(entry):
                    found.append(entry)
                if options.limit and len(found) == options.limit:
                    rest = page.remaining + len(page.entries) - at - 1
                    if rest == 0:
                        return found, views.ListMeta(revision)
                    token = self._token(revision, namespace, entry.namespace, entry.name)
                    return found, views.ListMeta(revision, token, rest if matches is everything else 0)
            if page.remaining == 0:
                return found, views.ListMeta(revision)
            last = page.entries[-1]
            start = cache_key(last.namespace, last.name)


def for_memory(options: ListOptions) -> bool:
    """Whether the newest state, or any, is asked for: then memory answers."""
    return not options.continue_token and options.match != EXACT and not _is_page(options)


def _is_page(options: ListOptions) -> bool:
    """A limit together with a version asks for just that version."""
    return not options.match and bool(options.limit) and options.resource_version not in ("", "0")


def too_new(fault: TooNewError) -> Timeout:
    return Timeout(
        f"Timeout: {fault}",
        details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
        retry_after=1,
    )


__all__ = ["NOT_OLDER_THAN", "ExpiredContinue", "Lister", "too_new"]
