"""
Instances in another version than the stored one, converted by the definition's webhook.

An entry's conversion is remembered for a while, so that the many who watch or poll the same objects cost one call.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence

from cluster.apiserver.webhooks import conversion_review
from cluster.apiserver.webhooks.client import Address, CallError, WebhookClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.store.encoding import Entry, encode_stored

_SECONDS = 30.0
_BATCH_OBJECTS = 100
_BATCH_BYTES = 2 << 20
"""Of stored objects in one call: an answer of about that size stays below the client's limit."""
_REMEMBERED_BYTES = 16 << 20
_REMEMBER_SECONDS = 60.0
"""A webhook that was repaired or upgraded is believed after this time, also for objects that have not changed."""


class Converter:
    """For one generation of one definition."""

    def __init__(self, client: WebhookClient, conversion: Object) -> None:
        """`conversion` is the definition's spec.conversion, of strategy Webhook."""
        webhook = conversion.get("webhook") or {}
        self._client = client
        self._address = Address.of(webhook.get("clientConfig") or {})
        wanted = webhook.get("conversionReviewVersions") or ()
        self._version = next((v for v in wanted if v in conversion_review.SUPPORTED), "")
        self._known: dict[tuple[str, int, str], tuple[float, Entry]] = {}
        """By uid, revision and version, the oldest first: when it was converted, and what came out."""
        self._known_bytes = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._failures = 0
        self._why = ""
        """What the last failure in turn was."""

    async def objects(self, objects: Sequence[Object], api_version: str) -> list[Object]:
        """All of them in `api_version`, in one call. Raises ApiError with code 500."""
        if not objects:
            return []
        what = f"conversion webhook for {objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        if not self._version:
            raise _failed(f"{what} failed: none of the versions it understands is supported here")
        uid = str(uuid.uuid4())
        review = conversion_review.request(self._version, uid, objects, api_version)
        try:
            answer = await self._client.post(self._address, review, _SECONDS)
            return conversion_review.converted(answer, self._version, uid, objects, api_version)
        except CallError as fault:
            raise _failed(f"{what} failed: {fault}") from None
        except conversion_review.BadAnswerError as fault:
            raise _failed(f"{what} {fault}") from None

    async def entries(self, entries: Sequence[Entry], api_version: str) -> list[Entry]:
        """The same entries, in order, those in another version converted. Raises ApiError with code 500."""
        shown = {entry: self._remembered(entry, api_version) for entry in entries}
        for batch in _batches([entry for entry, found in shown.items() if found is None]):
            objects = await self.objects([_plain(entry) for entry in batch], api_version)
            for entry, obj in zip(batch, objects, strict=True):
                shown[entry] = self._remember(entry, Entry(encode_stored(obj), entry.revision))
        return [found for entry in entries if (found := shown[entry]) is not None]

    async def entries_in_turn(self, entries: Sequence[Entry], api_version: str) -> list[Entry]:
        """The same for watches: all of them want an event at the same moment, and the first one asks for all."""
        failures = self._failures
        async with self._turn:
            if self._failures != failures:
                raise _failed(self._why)  # it failed while we waited: not each of us shall wait for its timeout
            try:
                return await self.entries(entries, api_version)
            except ApiError as fault:
                self._failures += 1
                self._why = fault.message
                raise

    def _remembered(self, entry: Entry, api_version: str) -> Entry | None:
        if entry.api_version == api_version:
            return entry
        since, found = self._known.get((entry.uid, entry.revision, api_version), (0.0, None))
        return found if time.monotonic() - since < _REMEMBER_SECONDS else None

    def _remember(self, entry: Entry, made: Entry) -> Entry:
        if not entry.revision:
            return made  # it was never stored but comes from a dry run, and there may be several
        key = entry.uid, entry.revision, made.api_version
        self._drop(key)
        self._known[key] = time.monotonic(), made
        self._known_bytes += len(made.item)
        while self._known_bytes > _REMEMBERED_BYTES:
            self._drop(next(iter(self._known)))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_REMEMBER_SECONDS, self._forget)
        return made

    def _drop(self, key: tuple[str, int, str]) -> None:
        _, found = self._known.pop(key, (0.0, None))
        self._known_bytes -= len(found.item) if found is not None else 0

    def _forget(self) -> None:
        """What is too old takes no memory either, also when nobody asks any more."""
        self._sweep = None
        past = time.monotonic() - _REMEMBER_SECONDS
        for key in [key for key, (since, _) in self._known.items() if since <= past]:
            self._drop(key)
        if self._known:
            self._sweep = asyncio.get_running_loop().call_later(_REMEMBER_SECONDS, self._forget)


def _plain(entry: Entry) -> Object:
    """The object as it is stored: without the resourceVersion that reading adds."""
    obj = entry.decode()
    obj["metadata"].pop("resourceVersion", None)
    return obj


def _batches(entries: Sequence[Entry]) -> list[list[Entry]]:
    batches: list[list[Entry]] = []
    size = 0
    for entry in entries:
        if not batches or len(batches[-1]) >= _BATCH_OBJECTS or size + len(entry.item) > _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(entry)
        size += len(entry.item)
    return batches


def _failed(text: str) -> ApiError:
    return ApiError(text, code=500, reason="")
