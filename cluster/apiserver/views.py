"""
Objects as the answer shows them: plain, as PartialObjectMetadata, or as rows of a Table.

Plain answers are spliced from kept bytes; the two others are made from decoded objects.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from cluster.api import printers
from cluster.apiserver.negotiation import OBJECT, PARTIAL, View
from cluster.apiserver.registry.kinds import Kind
from cluster.machinery.objects import Object
from cluster.store.encoding import Entry


@dataclass(frozen=True, slots=True)
class ListMeta:
    revision: int
    continue_token: str = ""
    remaining: int = 0
    """0 leaves it out: it is only known without selectors."""

    def encode(self) -> bytes:
        meta: Object = {"resourceVersion": str(self.revision)}
        if self.continue_token:
            meta["continue"] = self.continue_token
        if self.remaining > 0:
            meta["remainingItemCount"] = self.remaining
        return orjson.dumps(meta)


_TEMPLATE_GENERATION = b"deprecated.daemonset.template.generation"
"""Upstream's annotation that belongs to a DaemonSet's encoding, not to its metadata."""


def _metadata(entry: Entry) -> bytes:
    found = entry.metadata_bytes
    if _TEMPLATE_GENERATION not in found:
        return found
    metadata = orjson.loads(found)
    annotations = metadata.get("annotations") or {}
    annotations.pop(_TEMPLATE_GENERATION.decode(), None)
    if not annotations:
        metadata.pop("annotations", None)
    return orjson.dumps(metadata)


def _partial(entry: Entry, version: str) -> bytes:
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%s","metadata":%s}' % (
        version.encode(),
        _metadata(entry),
    )


def _row(kind: Kind, entry: Entry, view: View, include: str, now: datetime) -> bytes:
    cells = orjson.dumps(printers.cells(kind.resource, kind.decode(entry), now))
    if include == "Object":
        shown = kind.whole(entry)
    elif include == "None":
        return b'{"cells":%s,"object":null}' % cells
    else:
        shown = _partial(entry, view.version)
    return b'{"cells":%s,"object":%s}' % (cells, shown)


def _table(meta: bytes, view: View, columns: list[dict[str, Any]] | None, rows: list[bytes]) -> bytes:
    return b'{"kind":"Table","apiVersion":"meta.k8s.io/%s","metadata":%s,"columnDefinitions":%s,"rows":[%s]}' % (
        view.version.encode(),
        meta,
        orjson.dumps(columns),
        b",".join(rows),
    )


def one(kind: Kind, entry: Entry, view: View, include: str = "", *, headers: bool = True) -> bytes:
    """One object. `headers` off leaves out the column definitions: later events of a watch."""
    if view.shape == OBJECT:
        return kind.whole(entry)
    if view.shape == PARTIAL:
        return _partial(entry, view.version)
    meta = b'{"resourceVersion":"%d"}' % entry.revision
    columns = printers.columns(kind.resource) if headers else None
    return _table(meta, view, columns, [_row(kind, entry, view, include, datetime.now(UTC))])


def join(kind: Kind, entries: Iterable[Entry]) -> bytes:
    """The items of a plain list."""
    if not kind.custom and kind.convert is None:
        return b",".join([entry.item for entry in entries])
    return b",".join([kind.item(entry) for entry in entries])


def many(kind: Kind, entries: Iterable[Entry], meta: ListMeta, view: View, include: str = "") -> bytes:
    """A list of objects."""
    if view.shape == OBJECT:
        return b'%s%s,"items":[%s]}' % (kind.list_head, meta.encode(), join(kind, entries))
    if view.shape == PARTIAL:
        items = [_partial(entry, view.version) for entry in entries]
        return b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/%s","metadata":%s,"items":%s}' % (
            view.version.encode(),
            meta.encode(),
            b"[%s]" % b",".join(items) if items else b"null",
        )
    now = datetime.now(UTC)
    rows = [_row(kind, entry, view, include, now) for entry in entries]
    return _table(meta.encode(), view, printers.columns(kind.resource), rows)


def bookmark(kind: Kind, revision: int, view: View, *, initial_end: bool = False) -> bytes:
    """The object of a BOOKMARK event: nothing but where the watch has got to."""
    metadata: Object = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    if view.shape == OBJECT:
        api_version, name = kind.resource.api_version, kind.resource.kind
    elif view.shape == PARTIAL:
        api_version, name = f"meta.k8s.io/{view.version}", "PartialObjectMetadata"
    else:
        shown = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{view.version}", "metadata": metadata}
        row = orjson.dumps({"cells": [], "object": shown})
        return _table(orjson.dumps({"resourceVersion": str(revision)}), view, None, [row])
    return orjson.dumps({"kind": name, "apiVersion": api_version, "metadata": metadata})
