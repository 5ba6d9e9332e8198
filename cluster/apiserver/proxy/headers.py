"""
What of a message's headers goes on to the other side. Pure.

Source: RFC 9110 section 7.6.1; Go's httputil.ReverseProxy, which upstream passes requests on with.
"""

from collections.abc import Iterable, Mapping

from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

_HOP_BY_HOP = frozenset(
    {
        "connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_OURS = frozenset({"host", "authorization"})
"""The client's credentials are for us, not for who stands behind us."""
_CROSS_ORIGIN = "access-control-allow-"


def _named_by_connection(headers: Headers) -> set[str]:
    return {name.strip().lower() for value in headers.getall("Connection", []) for name in value.split(",")}


def is_upgrade(headers: Headers) -> bool:
    """Does the client want another protocol on this connection?"""
    return "upgrade" in _named_by_connection(headers) and "Upgrade" in headers


def onward(headers: Headers, client_address: str, drop: Iterable[str] = ()) -> CIMultiDict[str]:
    """A request's headers for the next server. `drop`: more names, in lower case, that stay behind."""
    left = _HOP_BY_HOP | _OURS | _named_by_connection(headers) | set(drop)
    found = CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in left and not name.lower().startswith("impersonate-")
    )
    if is_upgrade(headers):
        found["Connection"], found["Upgrade"] = "Upgrade", headers["Upgrade"]
    if client_address:
        before = found.popall("X-Forwarded-For", [])
        found["X-Forwarded-For"] = ", ".join([*before, client_address])
    return found


def back(headers: Headers) -> CIMultiDict[str]:
    """An answer's headers for the client. What allows other web sites to use it is not the backend's to say."""
    left = _HOP_BY_HOP | _named_by_connection(headers)
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in left and not name.lower().startswith(_CROSS_ORIGIN)
    )


def with_only(headers: CIMultiDict[str], wanted: Mapping[str, Iterable[str]], prefixes: Iterable[str]) -> None:
    """Set exactly these headers; any other whose name begins with one of `prefixes` (lower case) is removed."""
    ends = tuple(prefixes)
    for name in {name for name in headers if name.lower().startswith(ends)}:
        headers.popall(name, None)
    for name, values in wanted.items():
        headers.popall(name, None)
        for value in values:
            headers.add(name, value)
