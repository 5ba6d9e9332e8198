"""
An object's bytes, kept so that answers are spliced together instead of encoded again.

A stored value is JSON without a resourceVersion, and begins `{"kind":K,"apiVersion":V,"metadata":{…`. Of that an
`Entry` keeps `item`: the same bytes without kind and apiVersion, with the resourceVersion put in: what a list of a
built-in kind holds per item. The whole object is a fixed prefix per kind in front of it.
"""

import sys

import msgspec
import orjson

from cluster.machinery.objects import Object

_METADATA = b',"metadata":{'


class OwnerReference(msgspec.Struct, frozen=True):
    uid: str = ""


class Metadata(msgspec.Struct, frozen=True):
    """The few fields that selecting and finding need."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None


class _Header(msgspec.Struct, frozen=True):
    metadata: Metadata


_KNOWN = 2048
"""Heads and label sets that are remembered, so that objects alike share them."""
_NO_LABELS: dict[str, str] = {}
_kinds: dict[bytes, tuple[str, str]] = {}
_label_sets: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}


def _kind_of(head: bytes) -> tuple[str, str]:
    """(kind, apiVersion) of a value's beginning."""
    known = _kinds.get(head)
    if known is None:
        if len(_kinds) >= _KNOWN:
            _kinds.clear()
        first = orjson.loads(head + b"}")
        known = _kinds[head] = sys.intern(str(first["kind"])), sys.intern(str(first["apiVersion"]))
    return known


def _shared(labels: dict[str, str]) -> dict[str, str]:
    """The same labels, in one dictionary for all who have them: Pods of one controller do."""
    key = tuple(labels.items())
    known = _label_sets.get(key)
    if known is None:
        if len(_label_sets) >= _KNOWN:
            _label_sets.clear()
        known = _label_sets[key] = {sys.intern(name): value for name, value in key}
    return known


_decode_header = msgspec.json.Decoder(_Header).decode


def encode_stored(obj: Object) -> bytes:
    """What goes into etcd: the first three keys in fixed order, no resourceVersion."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata or "selfLink" in metadata:
        metadata = {k: v for k, v in metadata.items() if k not in ("resourceVersion", "selfLink")}
    ordered: Object = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": metadata, **obj}
    ordered["metadata"] = metadata
    return orjson.dumps(ordered)


class Entry:
    """One object at one revision, as bytes, with what selectors need next to it. Shared and never changed."""

    __slots__ = ("_decoded", "api_version", "fields", "item", "kind", "labels", "name", "namespace", "revision", "uid")

    def __init__(self, value: bytes, revision: int) -> None:
        self.revision = revision
        self._decoded: Object | None = None
        self.fields: dict[str, str] | None = None
        """What field selectors see; filled when first asked."""
        head, separator, tail = value.partition(_METADATA)
        if not separator or len(head) > 200 or not head.startswith(b'{"kind":"') or b'"apiVersion"' not in head:
            # Written by another apiserver, in another order: bring it into ours once.
            obj = orjson.loads(value)
            head, _, tail = encode_stored(obj).partition(_METADATA)
        self.kind, self.api_version = _kind_of(head)
        # Revision 0 stands for what was never stored, a dry run's answer: it has no resourceVersion.
        spliced = b'"resourceVersion":"%d",' % revision if revision else b""
        self.item = b'{"metadata":{' + spliced + tail
        metadata = _decode_header(self.item).metadata
        self.name = metadata.name
        self.namespace = sys.intern(metadata.namespace)
        self.uid = metadata.uid
        self.labels = _shared(metadata.labels) if metadata.labels else _NO_LABELS

    @classmethod
    def of(cls, obj: Object, value: bytes, revision: int) -> "Entry":
        """The entry of an object whose `encode_stored` is `value`: nothing is read again."""
        entry = cls.__new__(cls)
        entry.revision = revision
        entry._decoded = entry.fields = None
        entry.kind, entry.api_version = obj["kind"], obj["apiVersion"]
        _, _, tail = value.partition(_METADATA)
        entry.item = b'{"metadata":{"resourceVersion":"%d",%b' % (revision, tail)
        metadata = obj["metadata"]
        entry.name = metadata.get("name") or ""
        entry.namespace = metadata.get("namespace") or ""
        entry.uid = metadata.get("uid") or ""
        entry.labels = dict(metadata.get("labels") or ())
        return entry

    @property
    def whole(self) -> bytes:
        """The object as GET answers it."""
        return b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.api_version.encode()) + self.item[1:]

    @property
    def metadata_bytes(self) -> bytes:
        """The value of `metadata` alone."""
        return bytes(msgspec.json.decode(self.item, type=_RawMetadata).metadata)

    def decode(self) -> Object:
        """A copy of the object that the caller may change."""
        obj: Object = orjson.loads(self.item)
        return {"kind": self.kind, "apiVersion": self.api_version, **obj}

    @property
    def shared(self) -> Object:
        """The object, decoded once for all who read it. Nobody may change it."""
        if self._decoded is None:
            self._decoded = self.decode()
        return self._decoded

    def at_revision(self, revision: int) -> "Entry":
        """The same object under another revision: what a DELETED event carries."""
        _, _, tail = self.item.partition(b",")
        value = b'{"kind":"%s","apiVersion":"%s"%s' % (self.kind.encode(), self.api_version.encode(), _METADATA + tail)
        return Entry(value, revision)


class _RawMetadata(msgspec.Struct):
    metadata: msgspec.Raw
