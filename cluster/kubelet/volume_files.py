"""
Which files a ConfigMap, Secret, downward API or projected volume shows. Pure.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.kubelet.atomic_writer import FileContent
from cluster.kubelet.environment import Lookup, MissingReference, PodFacts, field_value, resource_value
from cluster.machinery.objects import Object

DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class FileSources:
    """Where contents come from, prefetched."""

    config_maps: Lookup
    secrets: Lookup
    token: Callable[[Object], str]
    """A serviceAccountToken projection -> the token."""
    facts: PodFacts


def volume_files(pod: Object, volume: Object, sources: FileSources) -> dict[str, FileContent]:
    """Path -> content. Raises MissingReference."""
    if source := volume.get("configMap"):
        return _config_map(source, source.get("name", ""), _mode(source), sources)
    if source := volume.get("secret"):
        return _secret(source, source.get("secretName", ""), _mode(source), sources)
    if source := volume.get("downwardAPI"):
        return _downward(pod, source, _mode(source), sources)
    projected = volume["projected"]
    files: dict[str, FileContent] = {}
    for part in projected.get("sources") or ():
        files.update(_projection(pod, part, _mode(projected), sources))
    return files


def shows_files(volume: Object) -> bool:
    return any(volume.get(kind) is not None for kind in ("configMap", "secret", "downwardAPI", "projected"))


def _projection(pod: Object, part: Object, mode: int, sources: FileSources) -> dict[str, FileContent]:
    if source := part.get("configMap"):
        return _config_map(source, source["name"], mode, sources)
    if source := part.get("secret"):
        return _secret(source, source["name"], mode, sources)
    if source := part.get("downwardAPI"):
        return _downward(pod, source, mode, sources)
    if source := part.get("serviceAccountToken"):
        return {source["path"]: _token_file(pod, sources.token(source), mode)}
    raise MissingReference(f"projected volume source is not supported on this node: {', '.join(part)}")


def _token_file(pod: Object, token: str, mode: int) -> FileContent:
    """A token is the containers' own: 0600 for their one user, unless a group shares it."""
    if (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None:
        return FileContent(token.encode(), 0o600)
    users = {_user(pod, c) for c in pod["spec"].get("containers") or ()}
    if len(users) == 1 and (user := users.pop()) is not None:
        return FileContent(token.encode(), 0o600, user)
    return FileContent(token.encode(), mode)


def _user(pod: Object, container: Object) -> int | None:
    own = (container.get("securityContext") or {}).get("runAsUser")
    outer = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    return int(own) if own is not None else int(outer) if outer is not None else None


def _mode(source: Object) -> int:
    given = source.get("defaultMode")
    return DEFAULT_MODE if given is None else int(given)


def _config_map(source: Object, name: str, mode: int, sources: FileSources) -> dict[str, FileContent]:
    found = sources.config_maps(name)
    if found is None and not source.get("optional"):
        raise MissingReference(f'configmap "{name}" not found')
    found = found or {}
    data = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    data |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return _items(source, data, mode, "references non-existent config key")


def _secret(source: Object, name: str, mode: int, sources: FileSources) -> dict[str, FileContent]:
    found = sources.secrets(name)
    if found is None and not source.get("optional"):
        raise MissingReference(f'secret "{name}" not found')
    data = {key: base64.b64decode(value) for key, value in ((found or {}).get("data") or {}).items()}
    return _items(source, data, mode, "references non-existent secret key")


def _items(source: Object, data: Mapping[str, bytes], mode: int, missing: str) -> dict[str, FileContent]:
    items = source.get("items")
    if not items:
        return {key: FileContent(value, mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise MissingReference(f"{missing}: {item['key']}")
        own = item.get("mode")
        files[item["path"]] = FileContent(data[item["key"]], mode if own is None else int(own))
    return files


def _downward(pod: Object, source: Object, mode: int, sources: FileSources) -> dict[str, FileContent]:
    files = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = field_value(pod, reference["fieldPath"], sources.facts)
        else:
            text = resource_value(pod, item["resourceFieldRef"], {}, sources.facts)
        own = item.get("mode")
        files[item["path"]] = FileContent(text.encode(), mode if own is None else int(own))
    return files
