"""
What is written down about one request: an audit.k8s.io/v1 Event that grows from stage to stage.

Made by recorder.py for requests that the policy wants. Who handles the request adds what only he knows through
`trail_of`: the impersonated user, the authorizer's decision, annotations of admission.
Source: k8s.io/apiserver, pkg/audit/request.go and pkg/apis/audit/v1.
"""

import datetime as dt
import ipaddress
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from cluster.apiserver.audit.policy import LEVEL_TEXTS, Decided, Level, Stage
from cluster.apiserver.requests import Attributes, Decision, UserInfo, user_info
from cluster.machinery import decode
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.machinery.timestamps import format_micro_time

HEADER = "Audit-Id"
_MAX_ID = 64
_MAX_USER_AGENT = 1024
_STATUS_FIELDS = ("metadata", "status", "message", "reason", "details", "code")
_CLOSED_EARLY: Object = {"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200}


class Trail:
    """One request's record."""

    def __init__(
        self, request: web.BaseRequest, decided: Decided, attributes: Attributes, *, known: bool = True
    ) -> None:
        """`known` is false when nobody could be authenticated."""
        self.id = request.headers.get(HEADER, "")[:_MAX_ID] or str(uuid.uuid4())
        self.decided = decided
        self.annotations: dict[str, str] = {}
        self.received = dt.datetime.now(dt.UTC)
        self.on_start: Callable[[], Awaitable[None]] | None = None
        """Set for requests that run long: writes down that the answer has begun."""
        self.started = False
        self.panicked = ""
        """Name of the fault that was our own; empty when there was none."""
        self._request = request
        self._impersonated: UserInfo | None = None
        self._status: Object | None = None
        self._objects: dict[str, Any] = {}
        agent = request.headers.get("User-Agent", "")
        self._head: Object = {
            "requestURI": request.rel_url.raw_path_qs,
            "verb": attributes.verb,
            "user": user_info(attributes.user) if known else {},
        }
        self._origin: Object = {
            "sourceIPs": source_addresses(request),
            "userAgent": agent if len(agent) <= _MAX_USER_AGENT else agent[:_MAX_USER_AGENT] + "...TRUNCATED",
        }
        self._reference: Object | None = None
        if attributes.is_resource:
            given = {
                "resource": attributes.resource, "namespace": attributes.namespace, "name": attributes.name,
                "apiGroup": attributes.group, "apiVersion": attributes.version, "subresource": attributes.subresource,
            }  # fmt: skip
            self._reference = {key: value for key, value in given.items() if value}

    def impersonates(self, user: UserInfo) -> None:
        self._impersonated = user

    def decide(self, decision: Decision) -> None:
        self.annotations["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
        self.annotations["authorization.k8s.io/reason"] = decision.reason

    async def answer_begins(self, status: int) -> None:
        """The answer's head is about to be sent; told once, and only of what runs long."""
        if self.on_start is not None and not self.started:
            self.started = True
            self._status = {"metadata": {}, "code": status}
            await self.on_start()

    def fail(self, message: str, code: int) -> None:
        """The answer's status when there is no answer to read it from."""
        self._status = {"metadata": {}, "message": message, "code": code}

    def panic(self, fault: str) -> None:
        """A fault of our own; `fault` is its kind, never what it says."""
        self.panicked = fault
        self._status = {
            "metadata": {}, "status": "Failure", "message": f"APIServer panic'd: {fault}", "reason": "InternalError",
            "code": 500,
        }  # fmt: skip

    def read_request(self) -> None:
        """What the body says about the object; kept when the level asks for it. The body has been read before."""
        if self._reference is None or not self._request._read_bytes:
            return
        obj = _decoded(self._request._read_bytes, self._request.headers.get("Content-Type", ""))
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        if isinstance(metadata, dict) and self._request.method != "PATCH":
            fields = {"namespace": "namespace", "name": "name", "uid": "uid", "resourceVersion": "resourceVersion"}
            for field, key in fields.items():
                if isinstance(metadata.get(key), str) and metadata[key]:
                    self._reference.setdefault(field, metadata[key])
        if self.decided.level >= Level.REQUEST and obj is not None:
            self._objects["requestObject"] = self._shown(obj)

    def read_response(self, response: web.StreamResponse) -> None:
        """The answer's status and, when the level asks for it, the object in it."""
        self._status = self._status or {"metadata": {}, "code": response.status}
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return
        full = self.decided.level >= Level.REQUEST_RESPONSE
        is_status = response.status >= 400 or response.body.startswith(b'{"kind":"Status"')
        if not full and not is_status:
            return
        obj = _decoded(response.body, response.headers.get("Content-Type", ""))
        if isinstance(obj, dict) and obj.get("kind") == "Status":
            found = {field: obj[field] for field in _STATUS_FIELDS if field in obj}
            self._status = {"metadata": {}, **found, "code": response.status}
        if full and obj is not None:
            self._objects["responseObject"] = self._shown(obj)

    def event(self, stage: Stage, *, at: dt.datetime | None = None) -> Object:
        """The record as of now."""
        event: Object = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": LEVEL_TEXTS[self.decided.level],
            "auditID": self.id,
            "stage": str(stage),
            **self._head,
        }
        if self._impersonated is not None:
            event["impersonatedUser"] = user_info(self._impersonated)
        event.update(self._origin)
        if not event["userAgent"]:
            del event["userAgent"]
        if self._reference is not None:
            event["objectRef"] = self._reference
        if stage != Stage.REQUEST_RECEIVED:
            event["responseStatus"] = self._status or _CLOSED_EARLY
            event.update(self._objects)
        event["requestReceivedTimestamp"] = format_micro_time(self.received)
        event["stageTimestamp"] = format_micro_time(at or dt.datetime.now(dt.UTC))
        if self.annotations:
            event["annotations"] = dict(sorted(self.annotations.items()))
        return event

    def _shown(self, obj: Any) -> Any:
        if self.decided.omit_managed_fields and isinstance(obj, dict):
            for one in (obj, *_parts(obj)):
                if isinstance(one.get("metadata"), dict):
                    one["metadata"].pop("managedFields", None)
        return obj


KEY = web.RequestKey("audit", Trail)
"""Under which a request carries its record."""


def trail_of(request: web.BaseRequest) -> Trail | None:
    """The record of this request; None when it is not written down."""
    return request.get(KEY)


def source_addresses(request: web.BaseRequest) -> list[str]:
    """Who passed the request on, the client first: what X-Forwarded-For and X-Real-Ip say, then the peer."""
    found = []
    for text in ",".join(request.headers.getall("X-Forwarded-For", [])).split(","):
        found += _address(text)
    found += [real for real in _address(request.headers.get("X-Real-Ip", "")) if real not in found]
    peer = request.remote or ""
    if peer and (not found or found[-1] != peer):
        found.append(peer)
    return found


def _address(text: str) -> list[str]:
    """Empty for what is no address: an identifier that means something to the proxy alone."""
    try:
        return [str(ipaddress.ip_address(text.strip()))]
    except ValueError:
        return []


def _decoded(data: bytes, content_type: str) -> Any:
    """JSON as it is, YAML and protobuf as JSON; None for what is neither."""
    media = decode.media_type(content_type)
    try:
        if media.endswith("json"):
            return orjson.loads(data)
        if media.endswith("yaml"):
            return decode.decode_yaml(data)[0]
        return decode.decode_body(data, content_type).obj if media == decode.PROTOBUF else None
    except (ValueError, ApiError):
        return None  # the request was refused for it; there is no object to show


def _parts(obj: Mapping[str, Any]) -> list[Object]:
    """Items of a list, objects of a table's rows."""
    items = [one for one in obj.get("items") or [] if isinstance(one, dict)]
    rows = [one.get("object") for one in obj.get("rows") or [] if isinstance(one, dict)]
    return [*items, *(one for one in rows if isinstance(one, dict))]
