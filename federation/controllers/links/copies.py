"""
What is remembered of an object in a member: little, because there are as many as members and objects together. Pure.

Whether somebody changed what is ours is told by its print: a digest of the fields that the federation applied and
still owns, and of their values. Field ownership is the server's own answer and needs no schema. Of an object without
it (a server without server-side apply) the print is of everything but its status.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.machinery.objects import Object
from federation.placement.render import APPLIED, MANAGED, TEMPLATE_UID

FIELD_MANAGER = "federation"
ADOPTED = "federation.hanse.io/adopted"
"""Annotation with the value "true" on what was there before the federation was."""
TEMPLATE_GENERATION = "federation.hanse.io/template-generation"
"""Annotation: generation of the template at the last write. Not part of the hash: it alone is no reason to write."""
LAST_APPLIED = "federation.hanse.io/last-applied"
"""Annotation: what was written last, for servers that do not remember who set which field."""
_VOLATILE = ("resourceVersion", "managedFields", "generation", "uid", "creationTimestamp")


@dataclass(slots=True)
class Copy:
    """An object in a member."""

    uid: str
    version: str
    generation: int = 0
    deleting: bool = False
    managed: bool = False
    """It carries our label."""
    template_uid: str = ""
    template_generation: int = 0
    hash: str = ""
    """Of what was rendered when it was written last."""
    adopted: bool = False
    owned: bool = False
    """We wrote it ourselves, and nobody copied it from what we wrote."""
    print: bytes = b""
    status: bytes = b""
    """JSON; empty where there is none."""
    body: bytes | None = None
    """The whole object as JSON; given up once it was compared."""

    def whole(self) -> Object | None:
        found: Object | None = orjson.loads(self.body) if self.body is not None else None
        return found

    def status_object(self) -> Object | None:
        found: Object | None = orjson.loads(self.status) if self.status else None
        return found


def copy_of(obj: Object) -> Copy:
    """Of an object as a server sent it, managedFields included."""
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    status = obj.get("status")
    generation = str(annotations.get(TEMPLATE_GENERATION) or "")
    return Copy(
        uid=metadata.get("uid") or "",
        version=metadata.get("resourceVersion") or "",
        generation=metadata.get("generation") or 0,
        deleting=bool(metadata.get("deletionTimestamp")),
        managed=(metadata.get("labels") or {}).get(MANAGED) == "true",
        template_uid=annotations.get(TEMPLATE_UID) or "",
        template_generation=int(generation) if generation.isdecimal() else 0,
        hash=annotations.get(APPLIED) or "",
        adopted=annotations.get(ADOPTED) == "true",
        owned=own_fields(obj) is not None or LAST_APPLIED in annotations,
        print=print_of(obj),
        status=_packed(status) if isinstance(status, dict) and status else b"",
        body=_packed(obj),
    )


def _packed(obj: Object) -> bytes:
    """JSON in just as many bytes as it has: orjson leaves its buffer of at least 4 KiB attached to what it returns."""
    return bytes(memoryview(orjson.dumps(obj)))


def slim(obj: Object, copy: Copy | None = None) -> Object:
    """What an informer keeps of an object: enough for its key and its version, and the Copy."""
    metadata = obj["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata}
    return {"metadata": kept, "copy": copy if copy is not None else copy_of(obj)}


def copy_in(kept: Object) -> Copy:
    """The Copy in what `slim` made."""
    found: Copy = kept["copy"]
    return found


def own_fields(obj: Object) -> Object | None:
    """FieldsV1 of what we applied and still own; None when nobody says."""
    for entry in obj["metadata"].get("managedFields") or ():
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            fields: Object | None = entry.get("fieldsV1")
            return fields
    return None


def print_of(obj: Object) -> bytes:
    fields = own_fields(obj)
    if fields is None:
        metadata = {name: value for name, value in obj["metadata"].items() if name not in _VOLATILE}
        seen: Any = {**obj, "metadata": metadata, "status": None}
    else:
        seen = [fields, project(obj, fields)]
    return hashlib.blake2b(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS), digest_size=12).digest()


def project(value: Any, fields: Object) -> Any:
    """The value without what the fields do not name."""
    if not fields:
        return value
    if isinstance(value, dict):
        return {
            key[2:]: project(value[key[2:]], node)
            for key, node in fields.items()
            if key.startswith("f:") and key[2:] in value
        }
    if isinstance(value, list):
        return [project(item_of(value, key), node) for key, node in fields.items() if key != "."]
    return value


def item_of(items: list[Any], key: str) -> Any:
    """The item of a list that a path element (`k:{…}`, `v:…`, `i:…`) calls; None when it is not there."""
    kind, text = key[:2], key[2:]
    if kind == "k:":
        wanted = orjson.loads(text)
        return next((one for one in items if isinstance(one, dict) and _has(one, wanted)), None)
    if kind == "v:":
        value = orjson.loads(text)
        return value if value in items else None
    index = int(text) if text.isdecimal() else len(items)
    return items[index] if index < len(items) else None


def _has(item: Object, wanted: Object) -> bool:
    return all(item.get(name) == value for name, value in wanted.items())


def first_difference(wanted: Object, live: Object) -> str:
    """
    Where an object is not as it was applied, or no longer ours; empty when it is as it should be.

    `live` with its managedFields. A value that its server writes in another way (`1000m`, `1`) counts as different:
    only the server can tell.
    """
    fields = own_fields(live)
    if fields is None:
        return "metadata.managedFields"
    metadata = {name: value for name, value in wanted["metadata"].items() if name not in ("name", "namespace")}
    rest = {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind", "metadata")}
    return _difference({**rest, "metadata": metadata}, live, fields, "")


def _difference(wanted: Any, live: Any, fields: Object, path: str) -> str:
    if not fields:
        return "" if wanted == live else path
    if isinstance(wanted, dict) and isinstance(live, dict):
        for name, value in wanted.items():
            if value is None:
                continue
            node = fields.get(f"f:{name}")
            below = f"{path}.{name}" if path else name
            if node is None or name not in live:
                return below
            if found := _difference(value, live[name], node, below):
                return found
        return ""
    if isinstance(wanted, list) and isinstance(live, list):
        return _list_difference(wanted, live, fields, path)
    return "" if wanted == live else path


def _list_difference(wanted: list[Any], live: list[Any], fields: Object, path: str) -> str:
    for item in wanted:
        found = _element(item, fields)
        if found is None:
            return path
        key, node = found
        there = item_of(live, key)
        if there is None:
            return f"{path}[{key[2:]}]"
        if below := _difference(item, there, node, f"{path}[{key[2:]}]"):
            return below
    return ""


def _element(item: Any, fields: Object) -> tuple[str, Object] | None:
    """The path element that means the item. A key that it leaves out has its default, which only the server knows."""
    for key, node in fields.items():
        if key.startswith("v:") and orjson.loads(key[2:]) == item:
            return key, node
        if key.startswith("k:") and isinstance(item, dict):
            names = orjson.loads(key[2:])
            if all(item[name] == value for name, value in names.items() if name in item):
                return key, node
    return None


def owners_of(live: Object, path: str) -> str:
    """Managers beside us that own something at or above a dotted path, for messages; empty when nobody says."""
    names = []
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            continue
        if _owns(entry.get("fieldsV1") or {}, path):
            names.append(str(entry.get("manager")))
    return ", ".join(dict.fromkeys(names))


def _owns(fields: Object, path: str) -> bool:
    for step in path.split("[", 1)[0].split("."):
        node = fields.get(f"f:{step}")
        if node is None:
            return False
        fields = node
    return True
