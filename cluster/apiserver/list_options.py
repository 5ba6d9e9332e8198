"""
The parameters of a list or watch, checked.

Pure. Rules and texts: k8s.io/apimachinery, pkg/apis/meta/internalversion/validation.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace

import orjson

from cluster.apiserver.router import Route
from cluster.machinery.status_errors import ApiError, BadRequest, invalid

_INTEGER = re.compile(r"[+-]?[0-9]+")
EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"


@dataclass(frozen=True, slots=True)
class ListOptions:
    resource_version: str = ""
    match: str = ""
    limit: int = 0
    continue_token: str = ""
    label_selector: str = ""
    field_selector: str = ""
    watch: bool = False
    timeout_seconds: int | None = None
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None

    @property
    def revision(self) -> int:
        return int(self.resource_version or 0)


def integer(route: Route, name: str) -> int | None:
    """A parameter as the 64-bit number it is; None when it is not given. Raises BadRequest."""
    text = route.query.get(name)
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 20 or not -(1 << 63) <= (number := int(text)) < 1 << 63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def parse(route: Route) -> ListOptions:
    """Raises BadRequest or Invalid."""
    query = route.query
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=max(integer(route, "limit") or 0, 0),
        continue_token=query.get("continue", ""),
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        watch=route.verb == "watch",
        timeout_seconds=integer(route, "timeoutSeconds"),
        allow_bookmarks=route.flag("allowWatchBookmarks"),
        send_initial_events=None if initial is None else initial not in ("false", "0"),
    )
    causes = _watch_causes(options) if options.watch else _list_causes(options)
    if causes:
        raise invalid("meta.k8s.io", "ListOptions", "", causes)
    check_version(options.resource_version)
    if options.resource_version in ("", "0"):
        if options.watch and not options.match:
            # A watch from no version begins with all there is, like one that says so.
            return replace(options, send_initial_events=True, match=NOT_OLDER_THAN)
    elif options.continue_token and not options.watch:
        raise BadRequest("specifying resource version is not allowed when using continue")
    return options


def check_version(text: str) -> None:
    """Raises the plain 500 that upstream answers to a resourceVersion that is no number."""
    if not text:
        return
    if not (text.isascii() and text.isdigit()):
        why = "invalid syntax"
    elif len(text) > 20 or int(text) >= 1 << 64:
        why = "value out of range"
    else:
        return
    raise ApiError(
        f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}', code=500, reason=""
    )


Causes = list[tuple[str, str, str]]
_FIELD = "resourceVersionMatch"


def _forbidden(message: str, field: str = _FIELD) -> tuple[str, str, str]:
    return "FieldValueForbidden", f"Forbidden: {message}", field


def _unsupported(value: str, supported: str) -> tuple[str, str, str]:
    return "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {supported}', _FIELD


def _watch_causes(options: ListOptions) -> Causes:
    causes: Causes = []
    if options.send_initial_events is not None and options.match != NOT_OLDER_THAN:
        causes.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if options.match:
        if options.send_initial_events is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(_forbidden(text))
        if options.match != NOT_OLDER_THAN:
            causes.append(_unsupported(options.match, '"NotOlderThan"'))
        if options.continue_token:
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _list_causes(options: ListOptions) -> Causes:
    causes: Causes = []
    if options.send_initial_events is not None:
        causes.append(_forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    if options.match:
        if not options.resource_version:
            causes.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_token:
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in (EXACT, NOT_OLDER_THAN):
            causes.append(_unsupported(options.match, '"Exact", "NotOlderThan", ""'))
        elif options.match == EXACT and options.resource_version == "0":
            causes.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    return causes


# Continue tokens: where a list goes on, and at which revision.


def encode_continue(revision: int, start: str) -> str:
    """`start` is the next key below the listed collection."""
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_continue(token: str) -> tuple[int, str]:
    """(revision, start); a revision of -1 means "now, consistency given up". Raises BadRequest."""
    why = "continue key is not valid"
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise BadRequest(f"invalid continue token: {why}: illegal base64 data at input byte 0") from None
    try:
        fields = json.loads(raw)
    except ValueError:
        first = raw[:1].decode("latin-1")
        text = f"invalid character '{first}' looking for beginning of value"
        raise BadRequest(f"invalid continue token: {why}: {text}") from None
    if not isinstance(fields, dict) or fields.get("v") != "meta.k8s.io/v1":
        version = fields.get("v") if isinstance(fields, dict) else ""
        raise BadRequest(
            f"invalid continue token: {why}: server does not recognize this encoded version {version or ''}"
        )
    revision, start = fields.get("rv"), fields.get("start")
    if not isinstance(revision, int) or revision == 0:
        raise BadRequest(
            f"invalid continue token: {why}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    if not isinstance(start, str) or not start:
        raise BadRequest(f"invalid continue token: {why}: encoded start key empty (version meta.k8s.io/v1)")
    if start.startswith("/") or "/../" in f"/{start}/":
        raise BadRequest(f"invalid continue token: {why}: {start}")
    return revision, start
