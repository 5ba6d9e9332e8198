"""JSON and YAML documents inside an object's strings (a ConfigMap's `data`), changed by patches. Pure."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from cluster.machinery import json_patch, yaml_document
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

_DEPTH = 100
_WIDTH = 4096  # columns: no line is folded


def change(obj: Object, path: str, form: str, operations: Sequence[Object]) -> Object:
    """
    The object with the document at `path` patched. A path that leads nowhere is no fault: one rule serves many objects.

    Args:
        path: JSON pointer to a string.
        form: json or yaml. Comments and quotes of YAML are not kept.

    Raises:
        ValueError: what is there is no such document, or an operation does not apply to it.
    """
    found = _found(obj, path)
    if found is None:
        return obj
    holder, key = found
    if not isinstance(holder[key], str):
        raise ValueError(f"{path} holds no text")
    document = {"": _read(holder[key], path, form)}
    for number, one in enumerate(operations, 1):
        where = f"{form} operation {number} ({one.get('op')} {one.get('path')}) at {path}"
        if one["path"] and not one["path"].startswith("/"):
            raise ValueError(f"{where}: a path is empty or begins with /")
        try:
            document = json_patch.apply(document, [{**one, "path": f"/{one['path']}"}])
        except ApiError:
            raise ValueError(f"{where} does not apply to the document") from None
    holder[key] = _written(document.get(""), form)
    return obj


def _found(obj: Object, path: str) -> tuple[dict[str, Any], str] | None:
    """The map that holds the text, and its key there."""
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]] or [""]
    here: Any = obj
    for part in above:
        here = here.get(part) if isinstance(here, dict) else None
    return (here, last) if isinstance(here, dict) and last in here else None


def _read(text: str, path: str, form: str) -> Any:
    try:
        if form == "json":
            return json.loads(text)
        document, duplicates = yaml_document.load(text.encode(), _DEPTH)
    except (ValueError, RecursionError) as wrong:
        raise ValueError(f"{path} holds no {form}: {wrong}") from None
    if duplicates:
        raise ValueError(f"{path} holds keys twice: {duplicates[0]}")
    return document


def _written(document: Any, form: str) -> str:
    if form == "json":
        return json.dumps(document, ensure_ascii=False)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=_WIDTH))
