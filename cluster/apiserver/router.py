"""
What a URL and a method ask for.

Pure. Source of the rules: k8s.io/apiserver, pkg/endpoints/request/requestinfo.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from cluster.machinery.status_errors import BadRequest

Query = Mapping[str, str]
"""Decoded parameters; of a repeated one the first, as upstream takes it."""

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Not namespaces below /namespaces/NAME/, but parts of the Namespace itself.
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Route:
    """A request taken apart. `resource` is empty for everything that is no API resource."""

    method: str
    path: str
    verb: str
    query: Query
    group: str = ""
    version: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""
    """What follows the subresource, for proxies: `/healthz` or empty."""

    def flag(self, name: str) -> bool:
        """A boolean parameter as upstream reads it: present and neither empty-false, 0 nor false."""
        value = self.query.get(name)
        return value is not None and value not in ("false", "0", "False", "FALSE", "f", "F")


def parse_query(text: str) -> Query:
    if not text:
        return {}
    found: dict[str, str] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(key, value)
    return found


def route(method: str, raw_path: str, query_string: str) -> Route:
    """Raises BadRequest for a path that is no UTF-8 or holds what no name may hold."""
    query = parse_query(query_string)
    try:
        path = unquote(raw_path, errors="strict") if "%" in raw_path else raw_path
    except UnicodeDecodeError:
        raise BadRequest("the URL is not UTF-8") from None
    if "\0" in path:
        raise BadRequest("the URL contains a NUL character")
    # Split before decoding: a name with an encoded slash is a bad name, not a longer path.
    parts = [unquote(p) for p in raw_path.split("/") if p]
    plain = Route(method, path, method.lower(), query)
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    verb = _VERBS.get(method, method.lower())
    if rest[0] == "watch" and len(rest) > 1:
        rest, verb = rest[1:], "watch"
    namespace, name, subresource, tail = "", "", "", ""
    if rest[0] == "namespaces" and not group:
        if len(rest) >= 3 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            namespace, rest = rest[1], rest[2:]
        elif len(rest) >= 2:
            namespace = rest[1]
    elif rest[0] == "namespaces" and len(rest) >= 3:
        namespace, rest = rest[1], rest[2:]
    resource = rest[0]
    if len(rest) > 1:
        name = rest[1]
    if len(rest) > 2:
        subresource = rest[2]
    if len(rest) > 3:
        tail = "/" + "/".join(rest[3:]) + ("/" if raw_path.endswith("/") else "")
    if verb == "get" and not name:
        verb = "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    if verb in ("list", "get") and not subresource and query.get("watch", "0") not in ("0", "false", ""):
        verb = "watch"
    return Route(method, path, verb, query, group, version, resource, namespace, name, subresource, tail)


def segments_are_safe(route: Route) -> bool:
    """Names that could leave their place in the store: `.`, `..`, a slash, a percent sign."""
    return all(
        part not in (".", "..") and "/" not in part and "%" not in part
        for part in (route.namespace, route.name, route.subresource)
    )
